//! The village: forty people and eight facts about each.

use crate::random::Random;

/// What is known about a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    Job,
    House,
    Animal,
    Food,
    Instrument,
    Street,
    Neighbour,
    Birthday,
}

impl Relation {
    pub const ALL: [Relation; 8] = [
        Relation::Job,
        Relation::House,
        Relation::Animal,
        Relation::Food,
        Relation::Instrument,
        Relation::Street,
        Relation::Neighbour,
        Relation::Birthday,
    ];

    /// The values that it can take, names of neighbours aside.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Relation::Job => &JOBS,
            Relation::House => &COLOURS,
            Relation::Animal => &ANIMALS,
            Relation::Food => &FOODS,
            Relation::Instrument => &INSTRUMENTS,
            Relation::Street => &STREETS,
            Relation::Neighbour => &NAMES,
            Relation::Birthday => &MONTHS,
        }
    }
}

/// The first twenty are women, the others men.
pub const NAMES: [&str; 40] = [
    "Anna", "Bella", "Clara", "Dora", "Ella", "Fiona", "Greta", "Hanna", "Ida", "Julia", "Kate",
    "Lena", "Mia", "Nora", "Olga", "Paula", "Rosa", "Sara", "Tina", "Vera", "Adam", "Ben", "Carl",
    "David", "Emil", "Felix", "George", "Hugo", "Ivan", "Jack", "Kurt", "Leo", "Max", "Nils",
    "Oscar", "Peter", "Ralf", "Simon", "Tom", "Victor",
];
const WOMEN: usize = 20;
const JOBS: [&str; 16] = [
    "baker",
    "teacher",
    "farmer",
    "doctor",
    "tailor",
    "miller",
    "gardener",
    "painter",
    "carpenter",
    "librarian",
    "shepherd",
    "cook",
    "potter",
    "smith",
    "weaver",
    "fisher",
];
/// Where each of the jobs is done.
const WORKPLACES: [&str; 16] = [
    "bakery",
    "school",
    "farm",
    "hospital",
    "shop",
    "mill",
    "garden",
    "studio",
    "workshop",
    "library",
    "meadow",
    "kitchen",
    "pottery",
    "forge",
    "weaving room",
    "lake",
];
const COLOURS: [&str; 10] =
    ["red", "blue", "green", "yellow", "white", "black", "brown", "pink", "orange", "grey"];
const ANIMALS: [&str; 12] = [
    "cat", "dog", "horse", "goat", "rabbit", "duck", "hen", "sheep", "pig", "parrot", "turtle",
    "mouse",
];
const FOODS: [&str; 14] = [
    "soup", "bread", "cheese", "rice", "pasta", "honey", "cake", "fish", "apples", "carrots",
    "pancakes", "noodles", "beans", "nuts",
];
const INSTRUMENTS: [&str; 10] =
    ["piano", "flute", "drum", "violin", "guitar", "harp", "trumpet", "cello", "accordion", "bell"];
const STREETS: [&str; 8] = [
    "Mill Street",
    "Lake Street",
    "Church Street",
    "Garden Street",
    "Market Street",
    "Forest Street",
    "Bridge Street",
    "Hill Street",
];
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The people, as indices into [`NAMES`].
pub struct World {
    /// Per person, a value for each of [`Relation::ALL`].
    values: Vec<[&'static str; 8]>,
}

impl World {
    pub fn new(random: &mut Random) -> Self {
        let mut values = vec![[""; 8]; NAMES.len()];
        for relation in Relation::ALL {
            // Every value as often as the others, give or take one.
            let mut dealt: Vec<_> = relation.values().iter().cycle().take(NAMES.len()).collect();
            random.shuffle(&mut dealt);
            for (person, value) in values.iter_mut().zip(dealt) {
                person[relation as usize] = value;
            }
        }
        // Neighbours live next to each other on one street.
        let mut people: Vec<usize> = (0..NAMES.len()).collect();
        random.shuffle(&mut people);
        for (pair, both) in people.chunks_exact(2).enumerate() {
            let street = STREETS[pair % STREETS.len()];
            for (person, other) in [(both[0], both[1]), (both[1], both[0])] {
                values[person][Relation::Street as usize] = street;
                values[person][Relation::Neighbour as usize] = NAMES[other];
            }
        }
        Self { values }
    }

    pub fn value(&self, person: usize, relation: Relation) -> &'static str {
        self.values[person][relation as usize]
    }

    pub fn workplace(&self, person: usize) -> &'static str {
        let job = self.value(person, Relation::Job);
        JOBS.iter()
            .zip(WORKPLACES)
            .find(|(name, _)| **name == job)
            .map_or("village", |(_, place)| place)
    }

    /// Everyone of whom a fact is true, in the order of their names.
    pub fn who(&self, relation: Relation, value: &str) -> Vec<usize> {
        (0..NAMES.len()).filter(|&person| self.value(person, relation) == value).collect()
    }
}

/// How a sentence calls a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Name,
    Pronoun,
}

/// Fills a sentence about a person: `{S}` and `{s}` the subject (capital or not), `{P}` and `{p}`
/// whose, `{o}` the object, `{g}` his or her, `{v}` the value, `{a}` the value with its article,
/// `{w}` the workplace.
pub fn fill(sentence: &str, world: &World, person: usize, call: Call, value: &str) -> String {
    let name = NAMES[person];
    let (she, her, object) =
        if person < WOMEN { ("she", "her", "her") } else { ("he", "his", "him") };
    let (subject, whose, object) = match call {
        Call::Name => (name.to_owned(), format!("{name}'s"), name),
        Call::Pronoun => (she.to_owned(), her.to_owned(), object),
    };
    sentence
        .replace("{S}", &capital(&subject))
        .replace("{s}", &subject)
        .replace("{P}", &capital(&whose))
        .replace("{p}", &whose)
        .replace("{o}", object)
        .replace("{g}", her)
        .replace("{v}", value)
        .replace("{a}", &with_article(value))
        .replace("{w}", world.workplace(person))
}

/// The text with a capital first letter.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn with_article(word: &str) -> String {
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_belong_to_each_other_and_share_a_street() {
        let world = World::new(&mut Random::new(0));
        let neighbour_of = |person| {
            let name = world.value(person, Relation::Neighbour);
            NAMES.iter().position(|other| *other == name).unwrap()
        };
        for person in 0..NAMES.len() {
            let neighbour = neighbour_of(person);
            assert_ne!(neighbour, person);
            assert_eq!(neighbour_of(neighbour), person);
            assert_eq!(
                world.value(person, Relation::Street),
                world.value(neighbour, Relation::Street)
            );
        }
    }

    #[test]
    fn everyone_has_a_value_of_the_right_kind_and_all_values_occur() {
        let world = World::new(&mut Random::new(0));
        for relation in Relation::ALL {
            let people: usize =
                relation.values().iter().map(|value| world.who(relation, value).len()).sum();
            assert_eq!(people, NAMES.len());
            assert!(relation.values().iter().all(|value| !world.who(relation, value).is_empty()));
        }
    }

    #[test]
    fn sentences_are_filled_in() {
        let world = World::new(&mut Random::new(0));
        let text = "{S} and {p} cat, {a} one, see {o}.";
        assert_eq!(
            fill(text, &world, 12, Call::Name, "orange"),
            "Mia and Mia's cat, an orange one, see Mia."
        );
        assert_eq!(
            fill(text, &world, 38, Call::Pronoun, "red"),
            "He and his cat, a red one, see him."
        );
    }
}
