//! The learners of a study: its methods with their labels, PPO, and IFT over a setting's values.

use ift_methods::{Ift, Method};

use crate::settings::{StudySettings, every_method};

/// A method, or PPO, with the label that stands for it in results.
#[derive(Clone, Debug)]
pub(crate) struct LearnerSpec {
    pub(crate) label: String,
    /// The method; `None` is PPO.
    pub(crate) method: Option<Method>,
}

impl LearnerSpec {
    /// Whether it is trained on the sub-optimal trajectory too.
    pub(crate) fn reads_suboptimal(&self) -> bool {
        self.method.as_ref().is_some_and(|method| method.needs().rows.compares())
    }
}

/// The learners of a study: its methods in the order of the settings, then PPO.
pub(crate) fn learners(settings: &StudySettings) -> Vec<LearnerSpec> {
    let defaults = every_method();
    let methods = settings.methods.iter();
    let mut learners: Vec<_> = methods
        .map(|method| LearnerSpec { label: label(method, &defaults), method: Some(method.clone()) })
        .collect();
    if settings.ppo.episodes > 0 {
        learners.push(LearnerSpec { label: "ppo".to_owned(), method: None });
    }
    learners
}

/// One setting of IFT and the values that a sweep tries.
pub(crate) struct SweptSetting {
    pub(crate) name: &'static str,
    pub(crate) values: Vec<f64>,
    /// IFT with each of the values.
    pub(crate) methods: Vec<Method>,
}

impl SweptSetting {
    fn new(name: &'static str, values: &[f64], with: fn(f64) -> Ift) -> Self {
        let methods = values.iter().map(|&value| Method::Ift(with(value))).collect();
        Self { name, values: values.to_vec(), methods }
    }
}

/// The sweeps of a study that have values.
pub(crate) fn sweeps(settings: &StudySettings) -> Vec<SweptSetting> {
    let (lambdas, gammas) = (&settings.sweep.lambda, &settings.sweep.gamma);
    let mut sweeps = vec![
        SweptSetting::new("lambda", lambdas, |lambda| Ift { lambda, ..Ift::default() }),
        SweptSetting::new("gamma", gammas, |gamma| Ift { gamma, ..Ift::default() }),
    ];
    sweeps.retain(|sweep| !sweep.values.is_empty());
    sweeps
}

/// The name of a method followed by those of its settings that are not the defaults, such as
/// `ift lambda=0.3` or `ift gamma=0`.
fn label(method: &Method, defaults: &[Method]) -> String {
    let fields = |method: &Method| match serde_json::to_value(method) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let own = fields(method);
    let defaults =
        defaults.iter().map(fields).find(|defaults| defaults.get("name") == own.get("name"));
    let mut label =
        own.get("name").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    for (key, value) in &own {
        let default = defaults.as_ref().and_then(|defaults| defaults.get(key));
        if key != "name" && default != Some(value) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // `0.0` as `0`.
            let text = if value.is_f64() { text.trim_end_matches(".0") } else { &text };
            label.extend([" ", key.as_str(), "=", text]);
        }
    }
    label
}
