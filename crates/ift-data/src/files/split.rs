//! Which files a source has: one file, or those of a split of a data set folder.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::Source;
use crate::error::DataError;

/// Extensions of files with records; `.gz` or `.zst` may follow.
const KINDS: [&str; 7] = ["jsonl", "json", "ndjson", "parquet", "csv", "tsv", "arrow"];

/// Most files that a message lists.
const LISTED: usize = 10;

/// The extension of a file with records, in lower case and without that of a compression.
pub(crate) fn extension(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    let (_, extension) = name.rsplit_once('.')?;
    KINDS.into_iter().find(|&kind| kind == extension)
}

/// The files of a source: itself, or those of a split in a folder. A folder that `datasets` saved
/// with `save_to_disk` lists its files.
///
/// # Errors
/// When a folder is given without `split`, has no such split, has its files in several forms or
/// not all of them.
pub(crate) fn resolve(source: &Source) -> Result<Vec<PathBuf>, DataError> {
    let path = &source.path;
    let folder = path.is_dir();
    match &source.split {
        None if !folder => Ok(vec![path.clone()]),
        None if path.join(STATE).is_file() => saved(path, None),
        None => {
            let found = match splits(path)? {
                Some(splits) => splits,
                None => listed(&files(path, &["", "data"])?),
            };
            let problem = format!(
                "is a folder, expected a file; name a file in it, or add `split`; it has {found}"
            );
            Err(DataError::file(path, problem))
        }
        Some(split) if !folder => Err(DataError::file(
            path,
            format!("is not a folder, which `split = \"{split}\"` needs; remove `split`"),
        )),
        Some(split) if path.join(split).join(STATE).is_file() => saved(&path.join(split), None),
        Some(split) if path.join(STATE).is_file() => saved(path, Some(split)),
        Some(split) => match splits(path)? {
            None => named(path, split),
            Some(splits) => {
                let problem = format!("has no split `{split}`; it has {splits}");
                Err(DataError::file(path, problem))
            }
        },
    }
}

/// The splits that `datasets` saved in a folder, for messages.
fn splits(folder: &Path) -> Result<Option<String>, DataError> {
    #[derive(Deserialize)]
    struct Splits {
        splits: Vec<String>,
    }
    let path = folder.join("dataset_dict.json");
    if !path.is_file() {
        return Ok(None);
    }
    let list = fs::read_to_string(&path).map_err(DataError::read(&path))?;
    let list: Splits = serde_json::from_str(&list).map_err(|e| {
        DataError::file(&path, format!("is not the list of splits that `datasets` saves: {e}"))
    })?;
    let names: Vec<_> = list.splits.iter().map(|split| format!("`{split}`")).collect();
    Ok(Some(names.join(", ")))
}

/// The list of files that `datasets` saves.
const STATE: &str = "state.json";

/// What is read of it; other fields do not select records.
#[derive(Deserialize)]
struct State {
    #[serde(rename = "_data_files")]
    files: Vec<DataFile>,
    #[serde(rename = "_split")]
    split: Option<String>,
    #[serde(rename = "_indices_data_files", default)]
    indices: Option<Vec<DataFile>>,
}

#[derive(Deserialize)]
struct DataFile {
    filename: String,
}

/// The files of a data set that `datasets` saved.
fn saved(folder: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let path = folder.join(STATE);
    let state = fs::read_to_string(&path).map_err(DataError::read(&path))?;
    let state: State = serde_json::from_str(&state).map_err(|e| {
        DataError::file(&path, format!("is not the list of files that `datasets` saves: {e}"))
    })?;
    if state.indices.is_some_and(|indices| !indices.is_empty()) {
        let problem = "selects records by an index file, which is not supported; save the data \
                       set again after `flatten_indices()`";
        return Err(DataError::file(&path, problem));
    }
    if let (Some(wanted), Some(found)) = (split, &state.split)
        && wanted != found
    {
        let problem = format!("is the split `{found}`, expected `{wanted}`");
        return Err(DataError::file(folder, problem));
    }
    if state.files.is_empty() {
        return Err(DataError::file(&path, "lists no file, expected at least one"));
    }
    Ok(state.files.into_iter().map(|file| folder.join(file.filename)).collect())
}

/// The files of a split that are recognised by their names.
fn named(path: &Path, split: &str) -> Result<Vec<PathBuf>, DataError> {
    let all = files(path, &["", "data"])?;
    let belongs = |file: &&PathBuf| {
        let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        name.strip_prefix(split).is_some_and(|rest| rest.starts_with(['.', '-']))
    };
    let mut chosen: Vec<_> = all.iter().filter(belongs).cloned().collect();
    chosen.extend(files(&path.join(split), &[""])?);
    chosen.extend(files(&path.join("data").join(split), &[""])?);
    if chosen.is_empty() {
        let found = listed(&all);
        let problem = format!(
            "has no file of split `{split}` (`{split}.*`, `{split}-*` or `{split}/*`); found \
             {found}"
        );
        return Err(DataError::file(path, problem));
    }
    let forms: BTreeSet<_> = chosen.iter().map(|file| form(file)).collect();
    if forms.len() > 1 {
        let problem = format!(
            "has split `{split}` in several forms, which may hold the same records: {}; name the \
             files to read as `path`",
            listed(&chosen)
        );
        return Err(DataError::file(path, problem));
    }
    if let Some(missing) = missing_part(&chosen) {
        let problem = format!("has no file `{missing}`, a part of split `{split}`");
        return Err(DataError::file(path, problem));
    }
    Ok(chosen)
}

/// A file's extension with that of its compression.
fn form(file: &Path) -> String {
    let last = file.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let kind = extension(file).unwrap_or_default();
    if last == kind { last } else { format!("{kind}.{last}") }
}

/// The files with records in sub-folders of a folder, those of each folder sorted by name.
fn files(folder: &Path, parts: &[&str]) -> Result<Vec<PathBuf>, DataError> {
    let mut all = Vec::new();
    for part in parts {
        let folder = if part.is_empty() { folder.to_owned() } else { folder.join(part) };
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder).map_err(DataError::read(&folder))? {
            let path = entry.map_err(DataError::read(&folder))?.path();
            if extension(&path).is_some() && path.is_file() {
                all.push(path);
            }
        }
    }
    all.sort();
    Ok(all)
}

/// The name of a part that is missing, of files named `…-00000-of-00002…`.
fn missing_part(files: &[PathBuf]) -> Option<String> {
    let mut seen: BTreeMap<(PathBuf, String, usize), BTreeSet<usize>> = BTreeMap::new();
    for file in files {
        if let Some((name, number, of)) = part(file) {
            let folder = file.parent().map(Path::to_owned).unwrap_or_default();
            seen.entry((folder, name, of)).or_default().insert(number);
        }
    }
    seen.into_iter().find_map(|((folder, name, of), numbers)| {
        let missing = (0..of).find(|number| !numbers.contains(number))?;
        let name = format!("{name}-{missing:05}-of-{of:05}…");
        Some(folder.join(name).display().to_string())
    })
}

/// Name, number and count of a part.
fn part(file: &Path) -> Option<(String, usize, usize)> {
    let name = file.file_name()?.to_str()?;
    let (before, after) = name.split_once("-of-")?;
    let (name, number) = before.rsplit_once('-')?;
    let of: String = after.chars().take_while(char::is_ascii_digit).collect();
    Some((name.to_owned(), number.parse().ok()?, of.parse().ok()?))
}

/// The names of files, for messages.
fn listed(files: &[PathBuf]) -> String {
    let names = files.iter().filter_map(|file| file.file_name());
    let names: Vec<_> = names.map(|name| format!("`{}`", name.to_string_lossy())).collect();
    match names.len() {
        0 => "no data file".to_owned(),
        count if count <= LISTED => names.join(", "),
        count => {
            let first = names.get(..LISTED).unwrap_or_default().join(", ");
            format!("{first} and {} more", count - LISTED)
        }
    }
}
