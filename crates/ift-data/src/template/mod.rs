//! Chat templates, run as transformers runs them.
//!
//! | module | holds |
//! |---|---|
//! | `built_in` | the templates that a recipe can name |
//! | `source` | which template a tokenizer folder has |
//! | `effective` | the template of a run: with its BOS and its arguments |
//! | `compiled` | a compiled template, and rendering |
//! | `tags` | the tags of a template's text and the names in them |
//! | `environment` | Jinja as transformers sets it up, with Python's values |
//! | `filters` | filters of Jinja2 that differ from those of the template engine |
//! | `methods` | methods of Python's strings, dictionaries and lists |
//! | `arguments` | arguments of Python's functions |
//! | `numbers` | numbers as Python reads and prints them |
//! | `printed` | values as Python prints them |
//! | `limits` | limits on what a template may cost |
//! | `held` | checks of the values that names keep |
//! | `clock` | `strftime_now` |
//! | `json` | `tojson`, as Python's `json.dumps` writes it |

mod arguments;
mod built_in;
mod clock;
mod compiled;
mod effective;
mod environment;
mod filters;
mod held;
mod json;
mod limits;
mod methods;
mod numbers;
mod printed;
mod source;
mod tags;

pub(crate) use built_in::BUILT_IN_TEMPLATES;
pub(crate) use compiled::{Template, template_value};
pub(crate) use effective::{Surroundings, template_of_folder};
