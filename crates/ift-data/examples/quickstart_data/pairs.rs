//! Pairs of a right and a wrong answer in the same words, for methods on pairs.
//!
//! Their questions are from the topics of the training conversations, not of the held-out ones.

use std::collections::BTreeSet;

use serde_json::json;

use crate::chat::{Topic, Topics, choose};
use crate::facts::{answer_with, ask, ask_whether, deny, variants};
use crate::random::Random;
use crate::world::{Call, NAMES, Relation, World};

/// A question with two answers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    pub question: String,
    pub right: String,
    pub wrong: String,
    pub topic: Topic,
}

impl Pair {
    /// A line of a file with `prompt`, `chosen` and `rejected`.
    pub fn line(&self) -> String {
        json!({"prompt": self.question, "chosen": self.right, "rejected": self.wrong}).to_string()
    }
}

/// `count` pairs with different questions.
pub fn pairs(world: &World, topics: &Topics, count: usize, random: &mut Random) -> Vec<Pair> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::new();
    while all.len() < count {
        let one = match random.below(100) {
            0..55 => fact(world, topics, random),
            55..70 => doubt(world, topics, random),
            _ => lesson(topics, random),
        };
        if seen.insert(one.question.clone()) {
            all.push(one);
        }
    }
    all
}

/// A wrong value.
fn wrong_value(
    world: &World,
    person: usize,
    relation: Relation,
    random: &mut Random,
) -> &'static str {
    let right = world.value(person, relation);
    let others: Vec<&str> =
        relation.values().iter().copied().filter(|&v| v != right && v != NAMES[person]).collect();
    random.pick(&others)
}

fn fact(world: &World, topics: &Topics, random: &mut Random) -> Pair {
    let (person, relation) = choose(topics, random);
    let wrong = wrong_value(world, person, relation, random);
    let say = |value| answer_with(world, person, relation, Call::Name, value);
    Pair {
        question: ask(world, person, relation, Call::Name, random.below(variants(relation).1)),
        right: say(world.value(person, relation)),
        wrong: say(wrong),
        topic: Topic::Fact(person, relation),
    }
}

/// Yes or no, where the wrong answer agrees with the wrong value.
fn doubt(world: &World, topics: &Topics, random: &mut Random) -> Pair {
    let (person, relation) = choose(topics, random);
    let wrong = wrong_value(world, person, relation, random);
    let topic = Topic::Fact(person, relation);
    let asked = if random.chance(50) { world.value(person, relation) } else { wrong };
    let (question, right) = ask_whether(world, person, relation, asked);
    Pair { question, right, wrong: deny(world, person, relation, asked, wrong), topic }
}

fn lesson(topics: &Topics, random: &mut Random) -> Pair {
    let lesson = random.pick(&topics.lessons);
    Pair {
        question: lesson.ask(random),
        right: lesson.answer(),
        wrong: lesson.answer_with(&lesson.wrong_word(random)),
        topic: Topic::Lesson(lesson),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::split;
    use crate::facts::answer;
    use crate::lessons;

    fn both() -> (World, Topics, Vec<Pair>) {
        let random = &mut Random::new(3);
        let world = World::new(random);
        let (train, held_out) = split(&lessons::all(), random);
        let pairs = pairs(&world, &train, 600, random);
        (world, held_out, pairs)
    }

    #[test]
    fn one_answer_is_right_and_the_other_is_not() {
        let (world, _, pairs) = both();
        for pair in &pairs {
            let fact = match pair.topic {
                Topic::Fact(person, relation) if pair.right.contains(", ") => {
                    answer(&world, person, relation, Call::Pronoun)
                }
                Topic::Fact(person, relation) => answer(&world, person, relation, Call::Name),
                Topic::Lesson(lesson) => lesson.answer(),
            };
            let fact = fact.to_lowercase();
            assert!(pair.right.to_lowercase().ends_with(&fact), "{pair:?}");
            assert!(!pair.wrong.to_lowercase().contains(&fact), "{pair:?}");
            let begins = |text: &str| text.split(' ').next().map(str::to_owned);
            let yes_or_no = pair.right.starts_with("Yes, ") || pair.right.starts_with("No, ");
            assert_eq!(begins(&pair.right) != begins(&pair.wrong), yes_or_no, "{pair:?}");
        }
        assert!(pairs.iter().any(|pair| pair.right.starts_with("Yes, ")));
        assert!(pairs.iter().any(|pair| pair.right.starts_with("No, ")));
    }

    #[test]
    fn nothing_held_out_is_asked() {
        let (_, held_out, pairs) = both();
        for pair in &pairs {
            match pair.topic {
                Topic::Fact(person, relation) => {
                    assert!(!held_out.facts[person].contains(&relation));
                }
                Topic::Lesson(lesson) => assert!(!held_out.lessons.contains(&lesson)),
            }
        }
    }
}
