//! Chat templates, run as transformers runs them.
//!
//! | module | holds |
//! |---|---|
//! | `built_in` | the templates that a recipe can name |
//! | `source` | which template a tokenizer folder has |
//! | `effective` | the template of a run: with its BOS and its arguments |
//! | `compiled` | a compiled template, and rendering |
//! | `tags` | the tags of a template's text and the names in them |
//! | `json` | `tojson`, as Python's `json.dumps` writes it |

mod built_in;
mod compiled;
mod effective;
mod json;
mod source;
mod tags;

pub(crate) use built_in::BUILT_IN_TEMPLATES;
pub(crate) use compiled::{Template, template_value};
pub(crate) use effective::{Surroundings, template_of_folder};
