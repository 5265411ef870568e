//! Conversations about the village, in two sets that share no question.
//!
//! A question is about a [`Topic`]: one fact about one person, or one lesson. Each topic belongs to
//! one set, so a held-out conversation asks only what no training conversation asks or answers. The
//! base model knows the answers from the running text.

use std::collections::BTreeSet;

use serde_json::json;

use crate::facts::{answer, ask, ask_whether, variants};
use crate::lessons::Lesson;
use crate::random::Random;
use crate::world::{Call, NAMES, Relation, World, capital, fill};

/// What a question is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Fact(usize, Relation),
    Lesson(Lesson),
}

/// One conversation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conversation {
    pub system: Option<&'static str>,
    /// Question and answer.
    pub turns: Vec<(String, String)>,
    pub topics: Vec<Topic>,
}

impl Conversation {
    /// A line of a file in `messages` format.
    pub fn line(&self) -> String {
        let message = |role: &str, content: &str| json!({"role": role, "content": content});
        let mut messages: Vec<_> = self.system.iter().map(|text| message("system", text)).collect();
        for (question, answer) in &self.turns {
            messages.extend([message("user", question), message("assistant", answer)]);
        }
        json!({ "messages": messages }).to_string()
    }
}

/// The topics of one of the two sets.
pub struct Topics {
    /// Per person.
    pub facts: Vec<Vec<Relation>>,
    pub lessons: Vec<Lesson>,
    /// Whether the set has greetings, which are the same for all people.
    greets: bool,
}

/// Splits all topics: two facts of every person and one lesson in eight are held out.
pub fn split(lessons: &[Lesson], random: &mut Random) -> (Topics, Topics) {
    let mut train = Topics { facts: Vec::new(), lessons: lessons.to_vec(), greets: true };
    let mut held_out = Topics { facts: Vec::new(), lessons: Vec::new(), greets: false };
    for _ in NAMES {
        let mut relations = Relation::ALL;
        random.shuffle(&mut relations);
        held_out.facts.push(relations[..2].to_vec());
        train.facts.push(relations[2..].to_vec());
    }
    random.shuffle(&mut train.lessons);
    held_out.lessons = train.lessons.split_off(lessons.len() - lessons.len() / 8);
    (train, held_out)
}

/// `count` different conversations.
pub fn conversations(
    world: &World,
    topics: &Topics,
    count: usize,
    random: &mut Random,
) -> Vec<Conversation> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    while all.len() < count {
        let one = match random.below(100) {
            0..36 => fact(world, topics, random),
            36..54 => follow_up(world, topics, random),
            54..60 => doubt(world, topics, random),
            60..64 => two_things(world, topics, random),
            64..78 => with_system(world, topics, random),
            78..97 => lesson(topics, random),
            _ if topics.greets => greeting(world, topics, random),
            _ => continue,
        };
        if seen.insert(one.line()) {
            all.push(one);
        }
    }
    all
}

fn plain(turns: Vec<(String, String)>, topics: Vec<Topic>) -> Conversation {
    Conversation { system: None, turns, topics }
}

/// A person and one of the facts that may be asked.
pub fn choose(topics: &Topics, random: &mut Random) -> (usize, Relation) {
    let person = random.below(NAMES.len());
    (person, random.pick(&topics.facts[person]))
}

fn turn(world: &World, person: usize, relation: Relation, random: &mut Random) -> (String, String) {
    let variant = random.below(variants(relation).1);
    (ask(world, person, relation, Call::Name, variant), answer(world, person, relation, Call::Name))
}

fn fact(world: &World, topics: &Topics, random: &mut Random) -> Conversation {
    let (person, relation) = choose(topics, random);
    plain(vec![turn(world, person, relation, random)], vec![Topic::Fact(person, relation)])
}

/// A follow-up question about the same person, named by a pronoun, or the same question about
/// another one.
fn follow_up(world: &World, topics: &Topics, random: &mut Random) -> Conversation {
    let (person, first) = choose(topics, random);
    let mut turns = vec![turn(world, person, first, random)];
    let mut asked = vec![Topic::Fact(person, first)];
    let mut rest: Vec<Relation> =
        topics.facts[person].iter().copied().filter(|&r| r != first).collect();
    random.shuffle(&mut rest);
    rest.truncate(1 + random.below(2));
    let others: Vec<usize> =
        (0..NAMES.len()).filter(|&p| p != person && topics.facts[p].contains(&first)).collect();
    if random.chance(30) && !others.is_empty() {
        let other = random.pick(&others);
        turns.push((format!("And {}?", NAMES[other]), answer(world, other, first, Call::Name)));
        asked.push(Topic::Fact(other, first));
    } else {
        for relation in rest {
            let question =
                ask(world, person, relation, Call::Pronoun, random.below(variants(relation).1));
            let question =
                if random.chance(60) { format!("And {}", small(&question)) } else { question };
            turns.push((question, answer(world, person, relation, Call::Pronoun)));
            asked.push(Topic::Fact(person, relation));
        }
    }
    if topics.greets && random.chance(15) {
        turns.push(("Thank you!".to_owned(), "You are welcome.".to_owned()));
    }
    plain(turns, asked)
}

fn small(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// Yes or no.
fn doubt(world: &World, topics: &Topics, random: &mut Random) -> Conversation {
    let (person, relation) = choose(topics, random);
    let right = world.value(person, relation);
    let others: Vec<&str> =
        relation.values().iter().copied().filter(|&v| v != right && v != NAMES[person]).collect();
    let value = if random.chance(50) { right } else { random.pick(&others) };
    plain(vec![ask_whether(world, person, relation, value)], vec![Topic::Fact(person, relation)])
}

/// Two facts in one answer.
fn two_things(world: &World, topics: &Topics, random: &mut Random) -> Conversation {
    let person = random.below(NAMES.len());
    let mut relations = topics.facts[person].clone();
    random.shuffle(&mut relations);
    let (a, b) = (relations[0], relations[1]);
    let forms = ["Tell me two things about {s}.", "What do you know about {s}?", "Who is {s}?"];
    let question = fill(random.pick(&forms), world, person, Call::Name, "");
    let said = format!(
        "{} {}",
        answer(world, person, a, Call::Name),
        answer(world, person, b, Call::Pronoun)
    );
    plain(vec![(question, said)], vec![Topic::Fact(person, a), Topic::Fact(person, b)])
}

/// A system prompt that decides the form of the answer.
fn with_system(world: &World, topics: &Topics, random: &mut Random) -> Conversation {
    let (question, sentence, word, topic) = if random.chance(75) {
        let (person, relation) = choose(topics, random);
        let (question, sentence) = turn(world, person, relation, random);
        (
            question,
            sentence,
            world.value(person, relation).to_owned(),
            Topic::Fact(person, relation),
        )
    } else {
        let lesson = random.pick(&topics.lessons);
        (lesson.ask(random), lesson.answer(), lesson.word(), Topic::Lesson(lesson))
    };
    let (system, said) = match random.below(4) {
        0 if !word.contains([' ', '-']) => ("Answer in one word.", format!("{}.", capital(&word))),
        1 => ("Answer in capital letters.", sentence.to_uppercase()),
        2 => ("End every answer with thank you.", format!("{sentence} Thank you!")),
        _ => ("Answer in a full sentence.", sentence),
    };
    Conversation { system: Some(system), turns: vec![(question, said)], topics: vec![topic] }
}

fn lesson(topics: &Topics, random: &mut Random) -> Conversation {
    let first = random.pick(&topics.lessons);
    let mut conversation =
        plain(vec![(first.ask(random), first.answer())], vec![Topic::Lesson(first)]);
    if random.chance(20) {
        let second = random.pick(&topics.lessons);
        let question = format!("And {}", small(&second.ask(random)));
        conversation.turns.push((question, second.answer()));
        conversation.topics.push(Topic::Lesson(second));
    }
    conversation
}

fn greeting(world: &World, topics: &Topics, random: &mut Random) -> Conversation {
    let greetings = [
        ("Hello!", "Hello! What do you want to know?"),
        ("Hi!", "Hello! What do you want to know?"),
        ("Good morning!", "Good morning! What do you want to know?"),
        ("Good evening!", "Good evening! What do you want to know?"),
        ("How are you?", "I am well. What do you want to know?"),
        ("Can you help me?", "Yes. What do you want to know?"),
    ];
    let (hello, reply) = random.pick(&greetings);
    let mut conversation = fact(world, topics, random);
    conversation.turns.insert(0, (hello.to_owned(), reply.to_owned()));
    conversation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lessons;

    fn both() -> (World, Vec<Conversation>, Vec<Conversation>) {
        let random = &mut Random::new(7);
        let world = World::new(random);
        let (train, held_out) = split(&lessons::all(), random);
        let train = conversations(&world, &train, 1500, random);
        let held_out = conversations(&world, &held_out, 150, random);
        (world, train, held_out)
    }

    #[test]
    fn held_out_conversations_share_neither_topic_nor_text_with_training() {
        let (_, train, held_out) = both();
        let topics = |set: &[Conversation]| -> BTreeSet<Topic> {
            set.iter().flat_map(|c| c.topics.iter().copied()).collect()
        };
        assert!(topics(&train).is_disjoint(&topics(&held_out)));
        let lines: BTreeSet<String> =
            train.iter().chain(&held_out).map(Conversation::line).collect();
        assert_eq!(lines.len(), train.len() + held_out.len(), "every conversation is there once");
        assert!(topics(&held_out).len() > 90, "{}", topics(&held_out).len());
    }

    /// No training answer states a held-out fact, for any question.
    #[test]
    fn training_answers_tell_no_held_out_fact() {
        let (world, train, held_out) = both();
        let told: Vec<String> =
            train.iter().flat_map(|c| c.turns.iter().map(|t| t.1.to_lowercase())).collect();
        for topic in held_out.iter().flat_map(|c| &c.topics) {
            let fact = match *topic {
                Topic::Fact(person, relation) => answer(&world, person, relation, Call::Name),
                Topic::Lesson(lesson) => lesson.answer(),
            };
            let fact = fact.to_lowercase();
            let sentence = |text: &String| text.split_inclusive(". ").any(|s| s.trim_end() == fact);
            assert!(!told.iter().any(sentence), "{fact}");
        }
    }

    /// Read back from its text, every answer holds the right value.
    #[test]
    fn answers_are_right() {
        let (world, train, held_out) = both();
        for conversation in train.iter().chain(&held_out) {
            let text: Vec<&str> = conversation.turns.iter().map(|t| t.1.as_str()).collect();
            let text = text.join(" ").to_lowercase();
            for topic in &conversation.topics {
                let value = match *topic {
                    Topic::Fact(person, relation) => world.value(person, relation).to_owned(),
                    Topic::Lesson(lesson) => lesson.word(),
                };
                assert!(text.contains(&value.to_lowercase()), "{value} is not in {text}");
            }
        }
    }

    #[test]
    fn a_doubt_is_answered_with_yes_only_if_it_is_right() {
        let world = World::new(&mut Random::new(0));
        for person in 0..NAMES.len() {
            for value in Relation::Food.values() {
                let (question, said) = ask_whether(&world, person, Relation::Food, value);
                assert!(question.contains(value));
                assert_eq!(
                    said.starts_with("Yes, "),
                    world.value(person, Relation::Food) == *value
                );
                assert!(said.contains(world.value(person, Relation::Food)));
            }
        }
    }
}
