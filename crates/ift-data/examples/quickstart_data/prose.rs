//! Running text about the village, which states every fact and every lesson many times.

use crate::facts::{answer, ask, state, variants};
use crate::lessons::{self, Lesson};
use crate::random::Random;
use crate::world::{Call, NAMES, Relation, World};

/// Documents of at least `bytes` bytes in all.
pub fn documents(
    world: &World,
    lessons: &[Lesson],
    bytes: usize,
    random: &mut Random,
) -> Vec<String> {
    let mut documents = Vec::new();
    let mut written = 0;
    while written < bytes {
        let document = match random.below(100) {
            0..20 => portrait(world, random),
            20..30 => day(world, random),
            30..54 => talk(world, random),
            54..60 => comparison(world, random),
            60..66 => list(world, random),
            66..74 => notice(world, lessons, random),
            74..94 => school(lessons, random),
            94..97 => lessons::counting(random),
            _ => lessons::sum_story(random),
        };
        written += document.len();
        documents.push(document);
    }
    documents
}

fn person(random: &mut Random) -> usize {
    random.below(NAMES.len())
}

fn another(person: usize, random: &mut Random) -> usize {
    (person + 1 + random.below(NAMES.len() - 1)) % NAMES.len()
}

fn statement(
    world: &World,
    person: usize,
    relation: Relation,
    call: Call,
    random: &mut Random,
) -> String {
    state(world, person, relation, call, random.below(variants(relation).0))
}

fn question(
    world: &World,
    person: usize,
    relation: Relation,
    call: Call,
    random: &mut Random,
) -> String {
    ask(world, person, relation, call, random.below(variants(relation).1))
}

/// A name where the reader needs one, else a pronoun.
fn call(first: bool, random: &mut Random) -> Call {
    if first || random.chance(30) { Call::Name } else { Call::Pronoun }
}

fn some_relations(count: usize, random: &mut Random) -> Vec<Relation> {
    let mut relations = Relation::ALL;
    random.shuffle(&mut relations);
    relations[..count].to_vec()
}

/// Facts about one person, in any order.
fn portrait(world: &World, random: &mut Random) -> String {
    let who = person(random);
    let count = 3 + random.below(6);
    let mut sentences = Vec::new();
    for (i, relation) in some_relations(count, random).into_iter().enumerate() {
        let call = call(i == 0, random);
        sentences.push(statement(world, who, relation, call, random));
    }
    sentences.join(" ")
}

/// A day from morning to evening.
fn day(world: &World, random: &mut Random) -> String {
    let who = person(random);
    let name = NAMES[who];
    let fact =
        |relation, random: &mut Random| statement(world, who, relation, Call::Pronoun, random);
    let weather = random.pick(&["sunny", "rainy", "cold", "windy", "warm", "foggy"]);
    let sentences = [
        format!("It is a {weather} day in the village. {name} wakes up."),
        fact(Relation::House, random),
        random.pick(&["The window is open.", "The door is closed."]).to_owned(),
        fact(Relation::Animal, random),
        format!("Then {name} goes to the {}.", world.workplace(who)),
        fact(Relation::Job, random),
        random
            .pick(&["At noon the bell rings.", "The work is hard.", "The day is long."])
            .to_owned(),
        fact(Relation::Food, random),
        format!("On the way home {name} meets {}.", world.value(who, Relation::Neighbour)),
        fact(Relation::Neighbour, random),
        fact(Relation::Instrument, random),
        random
            .pick(&["Then it is night.", "The stars are out.", "Then the lamp goes out."])
            .to_owned(),
    ];
    sentences.join(" ")
}

/// Two villagers ask each other about a third, or about several.
fn talk(world: &World, random: &mut Random) -> String {
    let asks = person(random);
    let says = another(asks, random);
    let place = random.pick(&["market", "well", "school", "bridge", "church", "mill"]);
    let mut sentences = vec![format!("{} and {} meet at the {place}.", NAMES[asks], NAMES[says])];
    let mut about = person(random);
    let count = 2 + random.below(4);
    for (i, relation) in some_relations(count, random).into_iter().enumerate() {
        let other = random.chance(30);
        if other {
            about = person(random);
        }
        let call = call(i == 0 || other, random);
        let asked = question(world, about, relation, call, random);
        // The same short answers as in conversations.
        let said = if random.chance(70) {
            answer(world, about, relation, call)
        } else {
            statement(world, about, relation, call, random)
        };
        let (ask, say) =
            random.pick(&[("asks", "says"), ("wants to know", "answers"), ("asks", "replies")]);
        sentences
            .push(format!("\"{asked}\" {ask} {}. \"{said}\" {say} {}.", NAMES[asks], NAMES[says]));
    }
    sentences.join(" ")
}

/// Facts that two people have in common, and others.
fn comparison(world: &World, random: &mut Random) -> String {
    let a = person(random);
    let b = another(a, random);
    let mut sentences =
        vec![format!("{} and {} are two people of the village.", NAMES[a], NAMES[b])];
    let count = 2 + random.below(3);
    for relation in some_relations(count, random) {
        let variant = random.below(variants(relation).0);
        let same = world.value(a, relation) == world.value(b, relation);
        sentences.extend([
            state(world, a, relation, Call::Name, variant),
            if same {
                "It is the same with the other:"
            } else {
                "It is not the same with the other:"
            }
            .to_owned(),
            state(world, b, relation, Call::Name, variant),
        ]);
    }
    sentences.join(" ")
}

/// Everyone of whom something is true.
fn list(world: &World, random: &mut Random) -> String {
    let relation = random.pick(&Relation::ALL);
    let value = random.pick(relation.values());
    let people = world.who(relation, value);
    let mut sentences = vec![format!("One page of the village book is about the word {value}.")];
    sentences.extend(people.iter().map(|&who| statement(world, who, relation, Call::Name, random)));
    let names: Vec<&str> = people.iter().map(|&p| NAMES[p]).collect();
    sentences.push(format!("The names on this page: {}.", names.join(", ")));
    sentences.join(" ")
}

/// A board with capital letters.
fn notice(world: &World, lessons: &[Lesson], random: &mut Random) -> String {
    let mut sentences = vec!["The board at the market is written in capital letters.".to_owned()];
    for _ in 0..3 + random.below(4) {
        let (plain, intro) = if random.chance(80) {
            let relation = random.pick(&Relation::ALL);
            (answer(world, person(random), relation, Call::Name), "It says:")
        } else {
            (random.pick(lessons).answer(), "The children wrote:")
        };
        let capitals = plain.to_uppercase();
        sentences.extend([plain, intro.to_owned(), capitals]);
    }
    sentences.join(" ")
}

/// A lesson at school.
fn school(lessons: &[Lesson], random: &mut Random) -> String {
    let when = random.pick(&["today", "this morning", "after the break", "before noon"]);
    let mut sentences = vec![format!("The children learn {when}.")];
    for _ in 0..5 + random.below(6) {
        let lesson = random.pick(lessons);
        sentences.push(if random.chance(35) {
            let (asked, said) = (lesson.ask(random), lesson.answer());
            format!("\"{asked}\" asks the teacher. \"{said}\" says {}.", random.pick(&NAMES))
        } else {
            lesson.teach(random)
        });
    }
    sentences.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_and_every_lesson_is_told_many_times() {
        let world = World::new(&mut Random::new(0));
        let lessons = lessons::all();
        let text = documents(&world, &lessons, 4_000_000, &mut Random::new(1)).join("\n");
        let mut told: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
        for sentence in text.split_inclusive(['.', '?']) {
            *told.entry(sentence.trim_start_matches([' ', '\n', '"'])).or_default() += 1;
        }
        for who in 0..NAMES.len() {
            for relation in Relation::ALL {
                let fact = answer(&world, who, relation, Call::Name);
                assert!(
                    told.get(fact.as_str()).is_some_and(|&n| n >= 20),
                    "{fact} {:?}",
                    told.get(fact.as_str())
                );
            }
        }
        for lesson in lessons {
            let fact = lesson.answer();
            assert!(
                told.get(fact.as_str()).is_some_and(|&n| n >= 20),
                "{fact} {:?}",
                told.get(fact.as_str())
            );
        }
        assert!(
            !text.contains("<|") && !text.contains('{'),
            "neither chat markers nor open placeholders"
        );
    }
}
