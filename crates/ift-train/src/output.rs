//! The run's folder: its lock, its files, and those of an earlier run.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Accepted, Checkpoints};
use crate::durable;
use crate::error::TrainError;
use crate::identity::Identity;
use crate::options::RunOptions;

/// Files and folders that a run writes into its output folder. The last two show that the others
/// are a run's; so they are removed last.
const TRACES: [&str; 7] =
    ["metrics.jsonl", "tensorboard", "checkpoints", "model", "stages", "run.json", "recipe.toml"];

/// The file that is locked.
const LOCK: &str = "run.lock";

/// `run.json`: what the results of a run depend on.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// The time, in seconds since 1970, that a chat template with a date writes.
    pub clock: i64,
    /// What the results of the run depend on.
    pub identity: Identity,
    /// Changes that were accepted when resuming, oldest first.
    pub accepted: Vec<Accepted>,
    /// Whether `model/` is the result of all steps; a run that goes on is not finished. Earlier
    /// versions did not say so.
    #[serde(default = "yes")]
    pub finished: bool,
}

fn yes() -> bool {
    true
}

impl RunRecord {
    /// Reads that of a run's folder.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let text = fs::read_to_string(path).map_err(TrainError::io("read", path))?;
        serde_json::from_str(&text)
            .map_err(|e| TrainError::file(path, format!("is not a record of a run: {e}")))
    }

    /// Whether the run in a folder is finished.
    pub fn is_finished(folder: &Path) -> bool {
        let record = Self::read(&folder.join("run.json"));
        folder.join("model").exists() && record.map_or(true, |record| record.finished)
    }
}

/// The output folder, locked for this process. In the end the lock's file is removed, and so are
/// folders that were made and are empty, because the run did not come to its start.
pub(crate) struct RunFolder {
    path: PathBuf,
    /// Folders that were not there before, innermost first.
    made: Vec<PathBuf>,
    /// Unlocked by the system when it is closed, however the process ends.
    _lock: File,
}

impl RunFolder {
    /// Makes and locks the folder, puts back what a killed run was replacing, and removes what it
    /// was writing.
    ///
    /// # Errors
    /// If another process uses it, it contains a run that is to be neither resumed nor overwritten,
    /// or what is to be overwritten is not a run.
    pub fn open(path: &Path, options: &RunOptions) -> Result<Self, TrainError> {
        let missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made: Vec<PathBuf> = path.ancestors().take_while(missing).map(Path::to_owned).collect();
        let lock = match fs::create_dir_all(path).map_err(TrainError::io("create", path)) {
            Ok(()) => lock(path),
            Err(error) => Err(error),
        };
        let lock = lock.inspect_err(|_| remove_empty(&made))?;
        let this = Self { path: path.to_owned(), made, _lock: lock };
        durable::remove_unfinished(path)?;
        durable::remove_unfinished(&path.join("checkpoints"))?;
        let found = TRACES.into_iter().rev().find(|name| path.join(name).exists());
        let is_run = this.recipe().exists() || this.record().exists();
        match found {
            Some(found) if options.overwrite && !is_run => {
                Err(TrainError::NotARun { path: path.to_owned(), found })
            }
            Some(found) if !options.overwrite && !options.resume => {
                Err(TrainError::OutputInUse { path: path.to_owned(), found })
            }
            _ => Ok(this),
        }
    }

    /// Removes what an earlier run left.
    pub fn clear(&self) -> Result<(), TrainError> {
        TRACES.iter().try_for_each(|name| durable::remove(&self.path.join(name)))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }
    pub fn record(&self) -> PathBuf {
        self.path.join("run.json")
    }
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }
    /// Where a reference's log-probabilities are kept. They are no trace of a run: a later one may
    /// use them.
    pub fn reference(&self) -> PathBuf {
        self.path.join("reference")
    }
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join("checkpoints"))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // Still locked. What cannot be removed does no harm: the next run takes it over.
        let _ = fs::remove_file(self.path.join(LOCK));
        remove_empty(&self.made);
    }
}

/// Removes folders, innermost first, up to one that is not empty.
fn remove_empty(folders: &[PathBuf]) {
    let _ = folders.iter().try_for_each(fs::remove_dir);
}

/// Locks `run.lock`, which names its holder for the message that others get. The system drops the
/// lock of a process that died, so there are no stale ones.
fn lock(folder: &Path) -> Result<File, TrainError> {
    let path = folder.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(TrainError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        // Some network file systems have no locks; that must not keep anybody from training.
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => {}
        Err(TryLockError::Error(e)) => return Err(TrainError::io("lock", &path)(e)),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The message is as good as what the holder managed to write.
            let _ = file.read_to_string(&mut holder);
            let holder =
                if holder.is_empty() { "a process".to_owned() } else { holder.trim().to_owned() };
            return Err(TrainError::Locked { path: folder.to_owned(), holder });
        }
    }
    file.set_len(0).map_err(TrainError::io("write", &path))?;
    let holder = format!("process {}\n", std::process::id());
    file.write_all(holder.as_bytes()).map_err(TrainError::io("write", &path))?;
    // The holder before may have removed the file after it was opened here: then the lock is of a
    // file that nobody else will see.
    match fs::read_to_string(&path) {
        Ok(text) if text != holder => lock(folder),
        Err(e) if e.kind() == ErrorKind::NotFound => lock(folder),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: RunOptions = RunOptions { resume: false, overwrite: false, accept: Vec::new() };
    const RESUME: RunOptions = RunOptions { resume: true, overwrite: false, accept: Vec::new() };

    #[test]
    fn a_folder_has_one_run_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("deep/run");
        let first = RunFolder::open(&folder, &NEW).unwrap();
        let message = RunFolder::open(&folder, &RESUME).err().unwrap().to_string();
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        drop(first);
        let second = RunFolder::open(&folder, &NEW).unwrap();
        fs::write(second.metrics(), "").unwrap();
        drop(second);
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["metrics.jsonl"]);
    }

    #[test]
    fn a_run_that_does_not_come_to_its_start_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let mine = root.path().join("mine");
        fs::create_dir(&mine).unwrap();
        for folder in ["deep/run", "mine/run", "mine"] {
            drop(RunFolder::open(&root.path().join(folder), &NEW).unwrap());
        }
        assert!(mine.exists() && !mine.join("run").exists() && !mine.join(LOCK).exists());
        assert!(!root.path().join("deep").exists());
        // Not a folder.
        fs::write(mine.join("file"), "").unwrap();
        assert!(RunFolder::open(&mine.join("file/deep/run"), &NEW).is_err());
        assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);
    }

    #[test]
    fn a_lock_file_that_nobody_holds_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("run.lock"), "process 123456789\n").unwrap();
        let run = RunFolder::open(root.path(), &NEW).unwrap();
        let text = fs::read_to_string(run.path().join("run.lock")).unwrap();
        assert_eq!(text, format!("process {}\n", std::process::id()));
    }

    #[test]
    fn an_earlier_run_is_neither_overwritten_nor_mixed() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("notes.txt"), "mine").unwrap();
        drop(RunFolder::open(root.path(), &NEW).unwrap());
        fs::write(root.path().join("metrics.jsonl"), "").unwrap();
        let message = RunFolder::open(root.path(), &NEW).err().unwrap().to_string();
        assert!(message.contains("`metrics.jsonl`") && message.contains("--resume"), "{message}");
        drop(RunFolder::open(root.path(), &RESUME).unwrap());
        let overwrite = RunOptions { overwrite: true, ..RunOptions::default() };
        // Nothing shows that the file is a run's.
        let message = RunFolder::open(root.path(), &overwrite).err().unwrap().to_string();
        assert!(message.contains("`metrics.jsonl`, but no `recipe.toml`"), "{message}");
        fs::write(root.path().join("recipe.toml"), "").unwrap();
        let run = RunFolder::open(root.path(), &overwrite).unwrap();
        assert!(root.path().join("metrics.jsonl").exists());
        run.clear().unwrap();
        assert!(!root.path().join("metrics.jsonl").exists());
        assert_eq!(fs::read_to_string(root.path().join("notes.txt")).unwrap(), "mine");
    }

    #[test]
    fn leftovers_of_a_killed_run_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let half = root.path().join("checkpoints/.step-8.unfinished/trainer_state");
        fs::create_dir_all(&half).unwrap();
        fs::create_dir_all(root.path().join(".model.unfinished")).unwrap();
        RunFolder::open(root.path(), &RESUME).unwrap();
        assert!(!half.exists() && !root.path().join(".model.unfinished").exists());
        assert!(root.path().join("checkpoints").exists());
    }
}
