//! Models of the Hugging Face Hub in the cache of this machine, which holds a model `org/name` as
//! `models--org--name/snapshots/HASH`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A model of the Hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubModel {
    /// Its name, `org/name`.
    pub name: String,
    /// The commit.
    pub revision: String,
}

impl HubModel {
    /// The model (or data set) that a folder holds, if it is a snapshot in a cache; symbolic links
    /// are followed.
    pub fn of_snapshot(folder: &Path) -> Option<Self> {
        let absolute = std::path::absolute(folder).ok();
        let real = folder.canonicalize().ok();
        [absolute, real].into_iter().flatten().find_map(|path| Self::of_path(&path))
    }

    /// Whether a text can be the name of a model on the Hub: `name` or `org/name`.
    pub fn is_name(text: &str) -> bool {
        let is_part = |part: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
        };
        text.split('/').count() <= 2 && text.split('/').all(is_part)
    }

    fn of_path(path: &Path) -> Option<Self> {
        let text = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let snapshots = path.parent()?;
        let folder = text(snapshots.parent()?)?;
        let name = ["models--", "datasets--"].iter().find_map(|kind| folder.strip_prefix(kind))?;
        let name = name.replace("--", "/");
        let found = text(snapshots)? == "snapshots" && Self::is_name(&name);
        found.then_some(Self { name, revision: text(path)? })
    }
}

/// The folders that the Python libraries keep models in: `HF_HUB_CACHE`, else `hub` in `HF_HOME`,
/// else `huggingface/hub` in the user's cache.
pub(crate) fn caches() -> Vec<PathBuf> {
    let set = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let folder = |name| set(name).map(PathBuf::from);
    let users = || folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
    let home = || folder("HF_HOME").or_else(|| Some(users()?.join("huggingface")));
    folder("HF_HUB_CACHE").or_else(|| Some(home()?.join("hub"))).into_iter().collect()
}

/// Whether a text can be a revision: a branch or tag, perhaps with `/`, or a commit. It becomes a
/// part of paths.
fn is_revision(text: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
    };
    text.split('/').all(is_part)
}

/// Where the snapshot of a model would be in each cache, at a revision (a branch, a tag or a
/// commit); nothing if a text is no name of a model or no revision.
pub(crate) fn snapshots(caches: &[PathBuf], name: &str, revision: Option<&str>) -> Vec<PathBuf> {
    let revision = revision.unwrap_or("main");
    if !HubModel::is_name(name) || !is_revision(revision) {
        return Vec::new();
    }
    let of = |cache: &PathBuf| {
        let model = cache.join(format!("models--{}", name.replace('/', "--")));
        let commit = fs::read_to_string(model.join("refs").join(revision));
        let commit = commit.as_deref().map_or(revision, str::trim);
        is_revision(commit).then(|| model.join("snapshots").join(commit))
    };
    caches.iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_and_found() {
        let cache = tempfile::tempdir().unwrap();
        let model = cache.path().join("models--some-org--Name-7B.v1");
        let snapshot = model.join("snapshots/0123abc");
        fs::create_dir_all(&snapshot).unwrap();
        fs::create_dir_all(model.join("refs")).unwrap();
        fs::write(model.join("refs/main"), "0123abc\n").unwrap();
        let (name, revision) = ("some-org/Name-7B.v1".to_owned(), "0123abc".to_owned());
        let expected = Some(HubModel { name: name.clone(), revision });
        assert_eq!(HubModel::of_snapshot(&snapshot), expected);
        #[cfg(unix)]
        {
            let link = cache.path().join("link");
            std::os::unix::fs::symlink(&snapshot, &link).unwrap();
            assert_eq!(HubModel::of_snapshot(&link), expected);
        }
        assert_eq!(HubModel::of_snapshot(&model), None);
        assert_eq!(HubModel::of_snapshot(cache.path()), None);

        let caches = [cache.path().to_owned()];
        for revision in [None, Some("main"), Some("0123abc")] {
            assert_eq!(snapshots(&caches, &name, revision), std::slice::from_ref(&snapshot));
        }
        for outside in ["../../x", "..", "a/../b", "/etc", ""] {
            assert!(snapshots(&caches, &name, Some(outside)).is_empty(), "{outside}");
        }
        fs::write(model.join("refs/main"), "../../secret").unwrap();
        assert!(snapshots(&caches, &name, None).is_empty());
        for no_name in ["/some/path", "../x", "a/b/c", "./m", ""] {
            assert!(snapshots(&caches, no_name, None).is_empty(), "{no_name}");
        }
    }
}
