//! `ift lake --watch`: shows a policy at play in the terminal.

use std::fmt::Write;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use ift_lake::{Action, Cell, LakeError, Player, StudySettings, Suboptimal, Trajectory, Visit};
use serde_json::json;

use super::lake_table;
use crate::arguments::LakeArguments;
use crate::output::Output;

/// A policy and the world that it plays in.
pub(crate) struct Show {
    player: Player,
    policy: String,
}

impl Show {
    /// Trains the policy with that name.
    ///
    /// # Errors
    /// If there is no such policy, or a setting is unusable.
    pub(crate) fn new(settings: &StudySettings, policy: &str) -> Result<Self, LakeError> {
        Ok(Self { player: Player::new(settings, policy)?, policy: policy.to_owned() })
    }

    /// Prints the episodes: on a terminal each frame replaces the last one, elsewhere they follow
    /// each other; with `--json` the moves as JSON.
    pub(crate) fn run(&self, arguments: &LakeArguments, output: Output) -> Result<()> {
        let episodes: Vec<_> =
            (1..=arguments.episodes).map(|number| self.player.play(number as u64)).collect();
        let map = self.player.solved.world.map();
        let arrived = episodes.iter().filter(|episode| map.cell(episode.end) == Cell::Goal).count();
        if output.json() {
            let world = &self.player.solved.name;
            let result = json!({
                "policy": self.policy,
                "world": world,
                "start": self.player.start,
                "suboptimal": self.player.suboptimal,
                "seed": self.player.seed,
                "arrived": arrived,
                "episodes": episodes,
            });
            output.result(&result.to_string())?;
            return Ok(());
        }
        output.piece(&format!("{}\n\n", self.origin()))?;
        let screen = output.screen();
        for (number, episode) in episodes.iter().enumerate() {
            let mut drawn = 0;
            for step in 0..=episode.visits.len() {
                let heading = format!(
                    "{} on {}, episode {}",
                    self.policy,
                    self.player.solved.name,
                    number + 1
                );
                let frame = self.frame(&heading, episode, step, screen);
                let over = match (screen, drawn) {
                    (_, 0) => String::new(),
                    (true, _) => format!("\x1b[{drawn}A\x1b[J"),
                    (false, _) => "\n".to_owned(),
                };
                output.piece(&format!("{over}{frame}"))?;
                drawn = frame.lines().count();
                if screen {
                    thread::sleep(Duration::from_millis(arguments.pause));
                }
            }
            output.piece("\n")?;
        }
        output
            .result(&format!("{} of {} episodes reached the goal", arrived, arguments.episodes))?;
        Ok(())
    }

    /// Where the policy comes from, in one line.
    fn origin(&self) -> String {
        let Player { start, suboptimal, seed, solved, .. } = &self.player;
        let how = match (start, suboptimal) {
            (Some(start), Some(kind)) => format!(
                "trained {}, rejecting {}",
                lake_table::start_text(*start),
                match kind {
                    Suboptimal::Longer => "a longer way to the goal",
                    Suboptimal::Hole => "a trajectory that ends in a hole",
                    Suboptimal::Wandering => "a trajectory that does not arrive",
                    Suboptimal::Own => "the policy's own episodes",
                }
            ),
            (Some(start), None) => format!("trained {}", lake_table::start_text(*start)),
            (None, _) if self.policy == "fitted" => "a network fitted to the optimum".to_owned(),
            (None, _) => "computed from the map".to_owned(),
        };
        format!("{} on {}: {how}; seed {seed}", self.policy, solved.name)
    }

    /// The lake before step `step`, or after the last one.
    fn frame(&self, heading: &str, episode: &Trajectory, step: usize, colours: bool) -> String {
        let here = episode.visits.get(step).map_or(episode.end, |visit| visit.state);
        let mut frame = format!("{heading}, step {step}\n");
        let map = self.player.solved.world.map();
        for row in 0..map.rows() {
            for column in 0..map.columns() {
                let state = row * map.columns() + column;
                frame.push_str(&self.cell(state, state == here, colours));
            }
            frame.push('\n');
        }
        _ = writeln!(frame, "{}", self.moves(episode, step));
        frame
    }

    /// A cell as three characters: its kind, or the most probable action from it, in brackets if
    /// the player is there.
    fn cell(&self, state: usize, here: bool, colours: bool) -> String {
        let (symbol, colour) = match self.player.solved.world.map().cell(state) {
            Cell::Hole => ('O', "\x1b[97;44m"),
            Cell::Goal => ('G', "\x1b[30;42m"),
            Cell::Start | Cell::Frozen => (self.likeliest(state).arrow(), "\x1b[30;47m"),
        };
        let text = if here { format!("[{symbol}]") } else { format!(" {symbol} ") };
        if !colours {
            return text;
        }
        let colour = if here { "\x1b[1;30;43m" } else { colour };
        format!("{colour}{text}\x1b[0m")
    }

    fn likeliest(&self, state: usize) -> Action {
        let chance = |action: &Action| self.player.policy[state][action.index()];
        Action::ALL
            .into_iter()
            .reduce(|best, next| if chance(&next) > chance(&best) { next } else { best })
            .unwrap_or(Action::Left)
    }

    /// The last move, and the probability of each action now.
    fn moves(&self, episode: &Trajectory, step: usize) -> String {
        let last = step
            .checked_sub(1)
            .map_or_else(|| "start".to_owned(), |last| moved(episode.visits[last]));
        let Some(next) = episode.visits.get(step) else {
            let end = match self.player.solved.world.map().cell(episode.end) {
                Cell::Goal => "reached the goal",
                Cell::Hole => "fell into a hole",
                Cell::Start | Cell::Frozen => "stopped at the limit of steps",
            };
            return format!("{last}; {end} after {step} steps");
        };
        let chances = Action::ALL.map(|action| {
            format!("{} {:.2}", action.arrow(), self.player.policy[next.state][action.index()])
        });
        format!("{last}; next {}", chances.join("  "))
    }
}

fn moved(visit: Visit) -> String {
    let meant = visit.action.arrow();
    match visit.turn {
        0 => format!("went {meant}"),
        turn => format!("meant {meant}, slipped {}", visit.action.turned(turn).arrow()),
    }
}
