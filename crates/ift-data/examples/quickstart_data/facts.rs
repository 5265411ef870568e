//! How facts about people are stated, asked and answered. The placeholders are those of [`fill`].

use crate::world::{Call, Relation, World, fill};

/// Sentences that state a fact. The first is the one that answers a question.
fn statements(relation: Relation) -> &'static [&'static str] {
    match relation {
        Relation::Job => &[
            "{S} is {a}.",
            "{S} works as {a}.",
            "{S} is {a} and works at the {w}.",
            "{P} work is at the {w}, for {s} is {a}.",
        ],
        Relation::House => &["{P} house is {v}.", "{S} lives in {a} house.", "{S} has {a} house."],
        Relation::Animal => &[
            "{S} has {a}.",
            "{P} animal is {a}.",
            "{S} feeds {g} {v} every day.",
            "At home {s} keeps {a}.",
        ],
        Relation::Food => &["{S} eats {v}.", "{S} likes to eat {v}.", "{P} favourite food is {v}."],
        Relation::Instrument => &[
            "{S} plays the {v}.",
            "{P} instrument is the {v}.",
            "In the evening {s} plays the {v}.",
        ],
        Relation::Street => {
            &["{S} lives on {v}.", "{P} house is on {v}.", "Go to {v} to find {o}."]
        }
        Relation::Neighbour => &[
            "{P} neighbour is {v}.",
            "{S} lives next to {v}.",
            "The house next door belongs to {v}.",
        ],
        Relation::Birthday => &["{S} was born in {v}.", "{P} birthday is in {v}."],
    }
}

/// Open questions.
fn questions(relation: Relation) -> &'static [&'static str] {
    match relation {
        Relation::Job => &[
            "What is {p} job?",
            "What does {s} do for work?",
            "What work does {s} do?",
            "As what does {s} work?",
        ],
        Relation::House => &[
            "What colour is {p} house?",
            "Which colour does {p} house have?",
            "In what colour is {p} house painted?",
        ],
        Relation::Animal => {
            &["What animal does {s} have?", "Which animal does {s} keep?", "What is {p} animal?"]
        }
        Relation::Food => {
            &["What does {s} eat?", "What does {s} like to eat?", "What is {p} favourite food?"]
        }
        Relation::Instrument => &[
            "What instrument does {s} play?",
            "Which instrument does {s} play?",
            "What is {p} instrument?",
        ],
        Relation::Street => &[
            "Where does {s} live?",
            "On which street does {s} live?",
            "On which street is {p} house?",
        ],
        Relation::Neighbour => &[
            "Who is {p} neighbour?",
            "Who lives next to {o}?",
            "What is the name of {p} neighbour?",
        ],
        Relation::Birthday => {
            &["When was {s} born?", "When is {p} birthday?", "In which month was {s} born?"]
        }
    }
}

/// The question whether a fact is true.
fn doubt(relation: Relation) -> &'static str {
    match relation {
        Relation::Job => "Is {s} {a}?",
        Relation::House => "Is {p} house {v}?",
        Relation::Animal => "Does {s} have {a}?",
        Relation::Food => "Does {s} eat {v}?",
        Relation::Instrument => "Does {s} play the {v}?",
        Relation::Street => "Does {s} live on {v}?",
        Relation::Neighbour => "Is {v} {p} neighbour?",
        Relation::Birthday => "Was {s} born in {v}?",
    }
}

/// The number of ways to state and to ask.
pub fn variants(relation: Relation) -> (usize, usize) {
    (statements(relation).len(), questions(relation).len())
}

/// The `variant`-th sentence that states a fact.
pub fn state(
    world: &World,
    person: usize,
    relation: Relation,
    call: Call,
    variant: usize,
) -> String {
    fill(statements(relation)[variant], world, person, call, world.value(person, relation))
}

/// The answer to a question about a fact.
pub fn answer(world: &World, person: usize, relation: Relation, call: Call) -> String {
    state(world, person, relation, call, 0)
}

/// The same with another value, right or wrong.
pub fn answer_with(
    world: &World,
    person: usize,
    relation: Relation,
    call: Call,
    value: &str,
) -> String {
    fill(statements(relation)[0], world, person, call, value)
}

/// The `variant`-th question about a fact.
pub fn ask(world: &World, person: usize, relation: Relation, call: Call, variant: usize) -> String {
    fill(questions(relation)[variant], world, person, call, "")
}

/// Asks whether `value` is right, and answers.
pub fn ask_whether(
    world: &World,
    person: usize,
    relation: Relation,
    value: &str,
) -> (String, String) {
    let right = world.value(person, relation);
    let question = fill(doubt(relation), world, person, Call::Name, value);
    (
        question,
        yes_or_no(value == right, &answer_with(world, person, relation, Call::Pronoun, right)),
    )
}

/// The wrong answer to the question whether `asked` is right: that `wrong` is.
pub fn deny(world: &World, person: usize, relation: Relation, asked: &str, wrong: &str) -> String {
    yes_or_no(asked == wrong, &answer_with(world, person, relation, Call::Pronoun, wrong))
}

fn yes_or_no(yes: bool, fact: &str) -> String {
    let mut letters = fact.chars();
    let fact: String =
        letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect();
    format!("{}, {fact}", if yes { "Yes" } else { "No" })
}
