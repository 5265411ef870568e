//! What is taught at the village school: sums, opposites, order, spelling.

use crate::random::Random;
use crate::world::{MONTHS, NAMES};

const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const NUMBERS: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];
const OPPOSITES: [(&str, &str); 24] = [
    ("big", "small"),
    ("hot", "cold"),
    ("day", "night"),
    ("up", "down"),
    ("old", "new"),
    ("fast", "slow"),
    ("happy", "sad"),
    ("open", "closed"),
    ("full", "empty"),
    ("light", "dark"),
    ("wet", "dry"),
    ("long", "short"),
    ("high", "low"),
    ("hard", "soft"),
    ("good", "bad"),
    ("early", "late"),
    ("rich", "poor"),
    ("loud", "quiet"),
    ("clean", "dirty"),
    ("strong", "weak"),
    ("sweet", "sour"),
    ("thick", "thin"),
    ("near", "far"),
    ("first", "last"),
];
const WORDS: [&str; 32] = [
    "cat", "dog", "pig", "hen", "red", "sun", "cup", "bed", "hat", "box", "map", "net", "pot",
    "rug", "top", "bus", "fan", "jam", "leg", "nut", "book", "cake", "duck", "fish", "goat",
    "hand", "lamp", "milk", "rice", "soup", "tree", "wind",
];

/// One thing to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lesson {
    Sum(usize, usize),
    /// Of the first word, the second is the opposite.
    Opposite(&'static str, &'static str),
    /// The second follows the first.
    After(&'static str, &'static str),
    /// The second precedes the first.
    Before(&'static str, &'static str),
    Spell(&'static str),
    Backwards(&'static str),
}

/// All lessons.
pub fn all() -> Vec<Lesson> {
    let mut lessons = Vec::new();
    for a in 0..=10 {
        lessons.extend((0..=10).map(|b| Lesson::Sum(a, b)));
    }
    for (a, b) in OPPOSITES {
        lessons.extend([Lesson::Opposite(a, b), Lesson::Opposite(b, a)]);
    }
    let next = |list: &'static [&'static str]| list.iter().zip(list.iter().cycle().skip(1));
    for (a, b) in next(&DAYS).chain(next(&MONTHS)).chain(NUMBERS.iter().zip(&NUMBERS[1..])) {
        lessons.extend([Lesson::After(a, b), Lesson::Before(b, a)]);
    }
    lessons.extend(WORDS.iter().flat_map(|word| [Lesson::Spell(word), Lesson::Backwards(word)]));
    lessons
}

impl Lesson {
    /// One of its questions.
    pub fn ask(self, random: &mut Random) -> String {
        let forms: [String; 3] = match self {
            Lesson::Sum(a, b) => [
                format!("What is {a} + {b}?"),
                format!("What is {a} plus {b}?"),
                format!("How much is {a} plus {b}?"),
            ],
            Lesson::Opposite(a, _) => [
                format!("What is the opposite of {a}?"),
                format!("Tell me the opposite of {a}."),
                format!("Which word is the opposite of {a}?"),
            ],
            Lesson::After(a, _) => [
                format!("What comes after {a}?"),
                format!("What follows {a}?"),
                format!("Tell me what comes after {a}."),
            ],
            Lesson::Before(a, _) => [
                format!("What comes before {a}?"),
                format!("What stands before {a}?"),
                format!("Tell me what comes before {a}."),
            ],
            Lesson::Spell(word) => [
                format!("How do you spell {word}?"),
                format!("Spell the word {word}."),
                format!("Which letters are in {word}?"),
            ],
            Lesson::Backwards(word) => [
                format!("What is {word} backwards?"),
                format!("Write the word {word} backwards."),
                format!("How do you write {word} backwards?"),
            ],
        };
        forms[random.below(forms.len())].clone()
    }

    /// The answer as a sentence.
    pub fn answer(self) -> String {
        self.answer_with(&self.word())
    }

    /// The same sentence with another word, right or wrong.
    pub fn answer_with(self, word: &str) -> String {
        match self {
            Lesson::Sum(a, b) => format!("{a} plus {b} is {word}."),
            Lesson::Opposite(a, _) => format!("The opposite of {a} is {word}."),
            Lesson::After(a, _) => format!("After {a} comes {word}."),
            Lesson::Before(a, _) => format!("Before {a} comes {word}."),
            Lesson::Spell(a) => format!("The word {a} is spelled {word}."),
            Lesson::Backwards(a) => format!("The word {a} backwards is {word}."),
        }
    }

    /// The answer alone.
    pub fn word(self) -> String {
        match self {
            Lesson::Sum(a, b) => (a + b).to_string(),
            Lesson::Opposite(_, b) | Lesson::After(_, b) | Lesson::Before(_, b) => b.to_owned(),
            Lesson::Spell(word) => {
                let letters: Vec<String> = word.chars().map(String::from).collect();
                letters.join("-")
            }
            Lesson::Backwards(word) => word.chars().rev().collect(),
        }
    }

    /// A wrong answer of the same kind, alone.
    pub fn wrong_word(self, random: &mut Random) -> String {
        let right = self.word();
        // The word asked about is no answer either.
        let asked = match self {
            Lesson::Opposite(a, _) | Lesson::After(a, _) | Lesson::Before(a, _) => a,
            Lesson::Sum(..) | Lesson::Spell(_) | Lesson::Backwards(_) => "",
        };
        loop {
            let word = match self {
                Lesson::Sum(a, b) => (a + b + random.below(4)).saturating_sub(2).to_string(),
                Lesson::Opposite(..) => {
                    let (a, b) = random.pick(&OPPOSITES);
                    random.pick(&[a, b]).to_owned()
                }
                Lesson::After(a, _) | Lesson::Before(a, _) => {
                    let lists = [&DAYS[..], &MONTHS[..], &NUMBERS[..]];
                    let list = lists.into_iter().find(|list| list.contains(&a)).unwrap_or(&NUMBERS);
                    random.pick(list).to_owned()
                }
                Lesson::Spell(_) => Lesson::Spell(random.pick(&WORDS)).word(),
                Lesson::Backwards(_) => Lesson::Backwards(random.pick(&WORDS)).word(),
            };
            if word != right && word != asked {
                return word;
            }
        }
    }

    /// A sentence that teaches it.
    pub fn teach(self, random: &mut Random) -> String {
        let (answer, word) = (self.answer(), self.word());
        let other = match self {
            Lesson::Sum(a, b) if random.chance(50) => format!("{a} + {b} = {word}."),
            Lesson::Sum(a, b) => {
                format!(
                    "{} and {} make {}.",
                    crate::world::capital(NUMBERS[a]),
                    NUMBERS[b],
                    NUMBERS[a + b]
                )
            }
            Lesson::Opposite(a, b) => format!("What is not {a} is {b}."),
            Lesson::After(a, b) => format!("First comes {a}, then {b}."),
            Lesson::Before(a, b) => format!("Just before {a} comes {b}."),
            Lesson::Spell(a) => format!("We spell {a} with the letters {word}."),
            Lesson::Backwards(a) => format!("Who reads {a} from the end reads {word}."),
        };
        if random.chance(60) { answer } else { other }
    }
}

/// A run of days, months or numbers.
pub fn counting(random: &mut Random) -> String {
    let list = random.pick(&[&DAYS[..], &MONTHS[..], &NUMBERS[1..]]);
    let start = random.below(list.len() - 3);
    let mut run = list[start..(start + 3 + random.below(6)).min(list.len())].to_vec();
    let name = random.pick(&NAMES);
    let how = if random.chance(25) {
        run.reverse();
        "backwards from"
    } else {
        "on from"
    };
    format!("{name} counts {how} {}: {}.", run[0], run.join(", "))
}

/// A small sum as a story.
pub fn sum_story(random: &mut Random) -> String {
    let (a, b) = (1 + random.below(10), 1 + random.below(10));
    let giver = random.below(NAMES.len());
    let taker = (giver + 1 + random.below(NAMES.len() - 1)) % NAMES.len();
    let things = random.pick(&["apples", "nuts", "eggs", "stones", "books", "carrots"]);
    let (giver, taker, sum) = (NAMES[giver], NAMES[taker], NUMBERS[a + b]);
    format!(
        "{taker} has {} of the {things}. {giver} gives {taker} {} more. {} plus {} is {}, so \
         now {taker} has {sum} {things}.",
        NUMBERS[a],
        NUMBERS[b],
        a,
        b,
        a + b
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_right() {
        assert_eq!(Lesson::Sum(3, 4).answer(), "3 plus 4 is 7.");
        assert_eq!(Lesson::Backwards("duck").answer(), "The word duck backwards is kcud.");
        assert_eq!(Lesson::Spell("cat").word(), "c-a-t");
        let all = all();
        assert!(all.contains(&Lesson::After("Sunday", "Monday")));
        assert!(all.contains(&Lesson::Before("January", "December")));
        assert!(all.contains(&Lesson::After("nineteen", "twenty")));
        assert!(all.contains(&Lesson::Opposite("cold", "hot")));
    }

    #[test]
    fn every_question_has_one_answer() {
        let mut questions: Vec<_> = all()
            .into_iter()
            .map(|lesson| (lesson.ask(&mut Random::new(1)).to_lowercase(), lesson.word()))
            .collect();
        questions.sort();
        for pair in questions.windows(2) {
            assert!(pair[0].0 != pair[1].0, "{} has two answers", pair[0].0);
        }
    }
}
