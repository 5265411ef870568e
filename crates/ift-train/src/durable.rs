//! Atomic writes: files and folders are written to a temporary path, synced and renamed, so that a
//! kill or a power cut leaves the old contents or the new ones, never a part.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::TrainError;

/// Ends the names of things being written; what a killed run leaves of them is removed at the next
/// start.
const UNFINISHED: &str = ".unfinished";
/// Ends the name of a folder while another takes its place; if a run is killed meanwhile, it is put
/// back at the next start.
const REPLACED: &str = ".replaced-unfinished";

/// Writes a file to a temporary path and renames it, replacing an earlier one.
pub(crate) fn write_file(path: &Path, contents: &[u8]) -> Result<(), TrainError> {
    let beside = beside(path, UNFINISHED);
    let mut file = File::create(&beside).map_err(TrainError::io("create", &beside))?;
    file.write_all(contents).map_err(TrainError::io("write", &beside))?;
    file.sync_all().map_err(TrainError::io("write", &beside))?;
    fs::rename(&beside, path).map_err(TrainError::io("write", path))?;
    sync_parent(path)
}

/// Writes a value as JSON, in the same way.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|e| TrainError::file(path, format!("cannot be written: {e}")))?;
    write_file(path, text.as_bytes())
}

/// Makes a folder, replacing an earlier one: `fill` writes into a temporary folder next to it,
/// which is renamed when everything is on disk. If that fails, the target is as it was.
///
/// # Errors
/// What `fill` returns, or if the folder cannot be written.
pub fn write_folder<E: From<TrainError>>(
    target: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    restore(target)?;
    let beside = beside(target, UNFINISHED);
    remove(&beside)?;
    fs::create_dir_all(&beside).map_err(TrainError::io("create", &beside))?;
    let finish = || sync_tree(&beside).and_then(|()| replace(&beside, target));
    let filled = fill(&beside).and_then(|()| Ok(finish()?));
    if filled.is_err() {
        // The first error is the one to report; leftovers are removed at the next start as well.
        let _ = remove(&beside);
    }
    filled
}

fn replace(beside: &Path, target: &Path) -> Result<(), TrainError> {
    let old = self::beside(target, REPLACED);
    let replaces = target.exists();
    if replaces {
        remove(&old)?;
        fs::rename(target, &old).map_err(TrainError::io("rename", target))?;
    }
    let renamed = fs::rename(beside, target).map_err(TrainError::io("rename", beside));
    if let Err(error) = renamed.and_then(|()| sync_parent(target)) {
        // The first error is the one to report; an old folder that cannot be put back now is put
        // back at the next start.
        let _ = fs::rename(target, beside);
        if replaces {
            let _ = fs::rename(&old, target);
        }
        return Err(error);
    }
    // The new folder is in place; a leftover is removed at the next start as well.
    let _ = remove(&old);
    Ok(())
}

/// Puts back the folder that was to be replaced, if it is missing because a run was killed just
/// then.
fn restore(target: &Path) -> Result<(), TrainError> {
    let old = beside(target, REPLACED);
    if !old.exists() || target.exists() {
        return Ok(());
    }
    fs::rename(&old, target).map_err(TrainError::io("rename", &old))?;
    sync_parent(target)
}

/// Syncs every file below a folder, and the folders.
pub(crate) fn sync_tree(folder: &Path) -> Result<(), TrainError> {
    for path in entries(folder)? {
        if path.is_dir() {
            sync_tree(&path)?;
        } else {
            sync(&path)?;
        }
    }
    sync_folder(folder)
}

/// Puts back what a killed run was replacing in a folder, and removes what it was writing.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), TrainError> {
    if !folder.is_dir() {
        return Ok(());
    }
    for path in entries(folder)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.and_then(|name| name.strip_prefix('.')) else { continue };
        if let Some(replaced) = name.strip_suffix(REPLACED) {
            restore(&folder.join(replaced))?;
        } else if !name.ends_with(UNFINISHED) {
            continue;
        }
        remove(&path)?;
    }
    Ok(())
}

/// Removes a file or folder, if there is one.
pub(crate) fn remove(path: &Path) -> Result<(), TrainError> {
    let removed = match path.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(kind) if kind.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(TrainError::io("remove", path))
}

/// The paths in a folder, sorted.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let read = fs::read_dir(folder).map_err(TrainError::io("read", folder))?;
    let paths: Result<Vec<_>, _> = read.map(|entry| entry.map(|e| e.path())).collect();
    let mut paths = paths.map_err(TrainError::io("read", folder))?;
    paths.sort();
    Ok(paths)
}

/// `.NAME` with one of the endings, in the same folder.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{ending}"))
}

fn sync(path: &Path) -> Result<(), TrainError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(TrainError::io("write", path))
}

fn sync_parent(path: &Path) -> Result<(), TrainError> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => sync_folder(parent),
        _ => sync_folder(Path::new(".")),
    }
}

/// A rename is on disk when its folder is. Only Unix can open a folder to say so.
fn sync_folder(folder: &Path) -> Result<(), TrainError> {
    if cfg!(unix) { sync(folder) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_folder_leaves_the_old_one() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        write_folder(&target, |f| write_file(&f.join("a"), b"1")).unwrap();
        let full = |f: &Path| {
            write_file(&f.join("a"), b"2")?;
            Err(TrainError::file(f, "no space left"))
        };
        assert!(write_folder(&target, full).is_err());
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
        assert_eq!(entries(root.path()).unwrap(), [target]);
    }

    #[test]
    fn a_new_folder_replaces_the_old_one_whole() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        write_folder(&target, |f| write_file(&f.join("a"), b"1")).unwrap();
        write_folder(&target, |f| write_file(&f.join("b"), b"2")).unwrap();
        assert_eq!(entries(&target).unwrap(), [target.join("b")]);
        assert_eq!(entries(root.path()).unwrap(), [target]);
    }

    #[test]
    fn a_folder_is_put_back_if_the_new_one_cannot_take_its_place() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        write_folder(&target, |f| write_file(&f.join("a"), b"1")).unwrap();
        // The new folder has vanished, so that the second rename fails.
        let message = replace(&root.path().join("gone"), &target).unwrap_err().to_string();
        assert!(message.contains("gone"), "{message}");
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
        assert_eq!(entries(root.path()).unwrap(), [target]);
    }

    /// What is left if a run is killed before the first rename, between the two, and after the
    /// second.
    #[test]
    fn a_kill_while_a_folder_is_replaced_leaves_one_of_the_two() {
        for (in_place, leftovers, expected) in [
            (Some("old"), vec![(".model.unfinished", "new")], "old"),
            (
                None,
                vec![(".model.replaced-unfinished", "old"), (".model.unfinished", "new")],
                "old",
            ),
            (Some("new"), vec![(".model.replaced-unfinished", "old")], "new"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let folders = leftovers.into_iter().chain(in_place.map(|text| ("model", text)));
            for (name, text) in folders {
                fs::create_dir(root.path().join(name)).unwrap();
                fs::write(root.path().join(name).join("a"), text).unwrap();
            }
            remove_unfinished(root.path()).unwrap();
            let target = root.path().join("model");
            assert_eq!(entries(root.path()).unwrap(), std::slice::from_ref(&target));
            assert_eq!(fs::read(target.join("a")).unwrap(), expected.as_bytes());
        }
    }

    #[test]
    fn a_failure_after_a_kill_does_not_lose_the_old_folder() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("model");
        write_folder(&target, |f| write_file(&f.join("a"), b"1")).unwrap();
        fs::rename(&target, beside(&target, REPLACED)).unwrap();
        let full = |f: &Path| Err(TrainError::file(f, "no space left"));
        assert!(write_folder(&target, full).is_err());
        assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
    }

    #[test]
    fn only_leftovers_are_removed() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".step-4.unfinished")).unwrap();
        fs::write(root.path().join(".step-4.unfinished/model.safetensors"), "half").unwrap();
        fs::write(root.path().join(".metrics.jsonl.unfinished"), "half").unwrap();
        fs::write(root.path().join("notes.unfinished"), "mine").unwrap();
        remove_unfinished(root.path()).unwrap();
        assert_eq!(entries(root.path()).unwrap(), [root.path().join("notes.unfinished")]);
        remove_unfinished(&root.path().join("nowhere")).unwrap();
    }
}
