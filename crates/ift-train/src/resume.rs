//! Which differences between a run and its checkpoint are accepted.

use std::path::Path;

use crate::change::Change;
use crate::error::TrainError;
use crate::identity::{Identity, not_compared};

/// The changes from a checkpoint's identity to the present one, all of which must have been
/// accepted.
///
/// # Errors
/// Names every change that was not accepted or cannot be, and what was accepted without having
/// changed.
pub(crate) fn accepted_changes(
    then: &Identity,
    now: &Identity,
    accepted: &[String],
    at: &Path,
) -> Result<Vec<Change>, TrainError> {
    let changes = then.changes(now);
    if let Some(field) = accepted.iter().find(|field| !changes.iter().any(|c| c.field == **field)) {
        let problem = match not_compared(field) {
            Some(reason) => reason,
            None if then.has(field) || now.has(field) => {
                "has not changed since the checkpoint".to_owned()
            }
            None => "is neither a field of the recipe nor the name of contents".to_owned(),
        };
        let changed = changes.into_iter().filter(|change| !change.is_structure());
        let changed = changed.map(|change| change.field).collect();
        return Err(TrainError::Accept { field: field.clone(), problem, changed });
    }
    let open = changes.iter().any(|c| c.is_structure() || !accepted.contains(&c.field));
    if open {
        let changes = changes.into_iter();
        let changes = changes.filter(|c| c.is_structure() || !accepted.contains(&c.field));
        return Err(TrainError::Changed { path: at.to_owned(), changes: changes.collect() });
    }
    Ok(changes)
}
