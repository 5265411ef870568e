//! The ranges of the settings of a study.

use ift_methods::{LookAhead, Method};

use crate::{
    action::Action,
    error::LakeError,
    settings::{DesignedMap, StudySettings, SweepValues},
    start::InitialPolicy,
    trajectory::Suboptimal,
    world::Rewards,
};

/// Largest number of random maps of a study.
const MOST_MAPS: u64 = 1000;
/// Largest length of the name of a designed map, in bytes. Names of files have at most 255.
const LONGEST_NAME: usize = 100;

impl StudySettings {
    /// Checks the ranges of all settings, including those of the methods.
    ///
    /// # Errors
    /// Names the setting, what was found and what was expected.
    pub fn validate(&self) -> Result<(), LakeError> {
        self.validate_lists()?;
        self.validate_numbers()?;
        self.validate_starts()?;
        self.validate_sweep_starts()?;
        self.validate_names()?;
        self.validate_methods()?;
        self.training.validate()?;
        self.ppo.validate()
    }

    /// Checks that lists have entries, each of them once.
    fn validate_lists(&self) -> Result<(), LakeError> {
        for (field, empty, repeated) in [
            ("maps", self.maps.is_empty() && self.designed.is_empty(), repeats(&self.maps)),
            ("ice", self.ice.is_empty(), repeats(&self.ice)),
            ("starts", self.starts.is_empty(), repeats(&self.starts)),
            ("suboptimal", self.suboptimal.is_empty(), repeats(&self.suboptimal)),
            ("methods", self.methods.is_empty(), repeats(&self.methods)),
            ("sweep.lambda", false, repeats(&self.sweep.lambda)),
            ("sweep.gamma", false, repeats(&self.sweep.gamma)),
            ("sweep.starts", false, repeats(&self.sweep.starts)),
        ] {
            if empty && field == "maps" {
                return wrong(
                    field,
                    "is empty, expected at least one entry, or a `[[designed]]` map",
                );
            }
            if empty {
                return wrong(field, "is empty, expected at least one entry");
            }
            if repeated {
                return wrong(field, "has the same entry twice");
            }
        }
        Ok(())
    }

    /// Checks the ranges of numbers.
    fn validate_numbers(&self) -> Result<(), LakeError> {
        // With a discount closer to 1, different actions would count as equally good (see
        // [`crate::Optimum`]).
        if !(self.discount > 0.0 && self.discount <= 0.9999) {
            return wrong(
                "discount",
                &format!("is {:?}, expected a number above 0, up to 0.9999", self.discount),
            );
        }
        if !(self.noise > 0.0 && self.noise <= 1.0) {
            return wrong(
                "noise",
                &format!("is {:?}, expected a number above 0, up to 1", self.noise),
            );
        }
        for (field, share) in [("success_rate", self.success_rate), ("both.share", self.both.share)]
        {
            if !(0.0..=1.0).contains(&share) {
                return wrong(field, &format!("is {share:?}, expected a number from 0 to 1"));
            }
        }
        for (field, number) in [("seeds", self.seeds), ("both.steps", self.both.steps)] {
            if number == 0 {
                return wrong(field, "is 0, expected 1 or more");
            }
        }
        if !(1..=MOST_MAPS).contains(&self.random.count) {
            let problem = format!("is {}, expected 1 to {MOST_MAPS} maps", self.random.count);
            return wrong("random.count", &problem);
        }
        for (field, number) in [
            ("rewards.goal", self.rewards.goal),
            ("rewards.hole", self.rewards.hole),
            ("rewards.frozen", self.rewards.frozen),
        ] {
            if number.is_nan() || number.abs() > 1e6 {
                return wrong(field, &format!("is {number:?}, expected a number from -1e6 to 1e6"));
            }
        }
        let Rewards { goal, hole, frozen } = self.rewards;
        if goal <= hole || (goal <= 0.0 && frozen >= 0.0) {
            let problem = format!(
                "is {goal:?}, with {hole:?} for a hole and {frozen:?} for other moves, so that no \
                 policy is rewarded for reaching it; expected a number above `rewards.hole`, and \
                 above 0 unless other moves cost something"
            );
            return wrong("rewards.goal", &problem);
        }
        for (field, values) in
            [("sweep.lambda", &self.sweep.lambda), ("sweep.gamma", &self.sweep.gamma)]
        {
            if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                return wrong(field, &format!("has {value:?}, expected numbers from 0 to 1"));
            }
        }
        Ok(())
    }

    /// Checks that every initial policy can be made in every world.
    fn validate_starts(&self) -> Result<(), LakeError> {
        let given = self.suboptimal.iter().any(|&kind| kind != Suboptimal::Own);
        if self.starts.contains(&InitialPolicy::Both) && !given && !self.maps.is_empty() {
            return wrong(
                "starts",
                "has `both` (also if it is not set), which is fitted to a given sub-optimal \
                 trajectory, but `suboptimal` has only `own`; write `starts = [\"random\", \
                 \"sft\"]`, or add `longer`, `hole` or `wandering` to `suboptimal`",
            );
        }
        Ok(())
    }

    /// Checks that `sweep.starts` has an effect if it was chosen. It has none by default if the
    /// study has the start `both` alone, and an empty list turns sweeps off.
    fn validate_sweep_starts(&self) -> Result<(), LakeError> {
        let starts = &self.sweep.starts;
        if *starts == SweepValues::default().starts || starts.is_empty() || !self.sweeps_nothing() {
            return Ok(());
        }
        wrong(
            "sweep.starts",
            "has no effect, because it lists none of `starts`; list one of those, or write \
             `starts = []` in `[sweep]` for no sweeps",
        )
    }

    /// Whether there are values to sweep, but no initial policy to sweep them from.
    pub fn sweeps_nothing(&self) -> bool {
        let SweepValues { lambda, gamma, starts } = &self.sweep;
        let values = !lambda.is_empty() || !gamma.is_empty();
        values && !starts.iter().any(|start| self.starts.contains(start))
    }

    /// Checks the names of designed maps, which are names of worlds and parts of file names.
    fn validate_names(&self) -> Result<(), LakeError> {
        for (index, DesignedMap { name, .. }) in self.designed.iter().enumerate() {
            let field = format!("designed.{index}.name");
            let allowed = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty() || !name.chars().all(allowed) {
                let problem = format!("is `{name}`, expected letters, digits, `-` and `_`");
                return wrong(&field, &problem);
            }
            if name.len() > LONGEST_NAME {
                let problem = format!("has {} bytes, expected at most {LONGEST_NAME}", name.len());
                return wrong(&field, &problem);
            }
            let same = |map: &DesignedMap| map.name.to_lowercase() == name.to_lowercase();
            if let Some(first) = self.designed[..index].iter().position(same) {
                let other = &self.designed[first].name;
                let problem = if other == name {
                    format!("is `{name}`, as `designed.{first}.name` is; rename one")
                } else {
                    format!(
                        "is `{name}` and `designed.{first}.name` is `{other}`, which differ only \
                         in upper and lower case; rename one"
                    )
                };
                return wrong(&field, &problem);
            }
        }
        Ok(())
    }

    /// Checks the settings of the methods.
    fn validate_methods(&self) -> Result<(), LakeError> {
        for (index, method) in self.methods.iter().enumerate() {
            if let Err(error) = method.validate() {
                return wrong(
                    &format!("methods.{index}.{}", error.field()),
                    &format!("is wrong: {error}"),
                );
            }
            if let Some(LookAhead::TopK { k }) = method.look_ahead()
                && k > Action::ALL.len()
            {
                return wrong(
                    &format!("methods.{index}.k"),
                    &format!("is {k}, but there are four actions"),
                );
            }
            if matches!(method, Method::Sft(sft) if sft.freeze_input_embeddings) {
                return wrong(
                    &format!("methods.{index}.freeze_input_embeddings"),
                    "is true, but the network of the study has no input embeddings; remove it",
                );
            }
        }
        Ok(())
    }
}

/// The error that a setting is wrong.
fn wrong(field: &str, problem: &str) -> Result<(), LakeError> {
    Err(LakeError::Setting { field: field.to_owned(), problem: problem.to_owned() })
}

/// Whether an entry is listed twice.
fn repeats<T: PartialEq>(entries: &[T]) -> bool {
    entries.iter().enumerate().any(|(index, entry)| entries[..index].contains(entry))
}
