//! A training run without stages, top to bottom.

mod measures;
mod origin;
mod pace;
mod resumed;
mod rounding;
mod session;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ift_backend::Backend;
use ift_data::Source;
use ift_model::config_of;

use crate::backend::{Work, run_on};
use crate::data::Data;
use crate::error::TrainError;
use crate::identity::Identity;
use crate::kept_reference::KeptReference;
use crate::observer::{Observer, Phase};
use crate::options::{Outcome, RunOptions};
use crate::output::RunFolder;
use crate::recipe::Recipe;
use crate::rows::{DataRows, RowSource};
use origin::Origin;
use pace::Pace;
use session::{Device, Session};

/// Trains as a recipe without stages says.
pub(crate) fn train_one(
    recipe: &Recipe,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let work = Training { recipe, options, stop, observer };
    run_on(recipe.train.precision, recipe.train.threads, work)
}

struct Training<'a> {
    recipe: &'a Recipe,
    options: &'a RunOptions,
    stop: &'a AtomicBool,
    observer: &'a mut dyn Observer,
}

impl Work for Training<'_> {
    type Output = Result<Outcome, TrainError>;

    fn run<B: Backend>(self, backend: Arc<B>, threads: usize) -> Self::Output {
        let Self { recipe, options, stop, observer } = self;
        // Cheap checks first, before the data is read.
        let reference = recipe.reference.path.as_ref().filter(|_| recipe.method.needs().reference);
        for path in [Some(&recipe.model.path), reference].into_iter().flatten() {
            config_of(path)?;
        }
        let folder = RunFolder::open(&recipe.output.dir, options)?;
        if options.overwrite {
            refuse_to_overwrite_inputs(recipe)?;
        }
        let origin = Origin::find(&folder, options)?;
        observer.phase(Phase::ReadingData);
        let data = Data::load(recipe, origin.clock())?;
        observer.phase(Phase::ReadingModel);
        let beginning = origin.begin(Identity::of(recipe, &data)?, options)?;
        let source = DataRows::new(&data.train.rows, &recipe.train, beginning.plan);
        let watch = &mut |done, rows| {
            observer.reference_scored(done, rows);
            stop.load(Ordering::Relaxed)
        };
        let key = beginning.identity.contents("reference");
        let kept = KeptReference::load(recipe, &data, &backend, (&folder.reference(), key), watch)?;
        let Some(reference) = kept else {
            let step = beginning.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.state.step);
            return Ok(Outcome::Stopped { step, steps: source.steps(), checkpoint: None });
        };
        let device = Device { backend, threads };
        let session =
            Session::begin(device, recipe, &data, (source, reference), folder, beginning)?;
        run_remaining_steps(session, options, stop, observer)
    }
}

/// Does all steps that are left, with evaluations and checkpoints in between.
fn run_remaining_steps<B: Backend>(
    mut session: Session<B>,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let recipe = session.recipe();
    let (mut step, mut log) = session.open(options, observer)?;
    let steps = session.steps();
    if step == 0 {
        if recipe.eval.before {
            session.evaluate(step, &mut log, observer)?;
        }
        session.measure_start(observer)?;
        session.sample(step, &mut log, observer)?;
    }
    let pace = Pace::new(step);
    let mut checkpoint = None;
    let mut stopping = stop.load(Ordering::Relaxed);
    // A run that was interrupted after a checkpoint may not have come to its evaluation.
    if step > 0 && step < steps && !stopping && is_due(step, recipe.eval.every) {
        session.evaluate_once(step, &mut log, observer)?;
    }
    while step < steps && !stopping {
        let metrics = session.step(step)?;
        step += 1;
        log.step(&metrics)?;
        observer.stepped(&metrics, &pace.progress(step, steps));
        stopping = stop.load(Ordering::Relaxed);
        // The checkpoint comes first: no error after it loses the step.
        let last = step == steps && recipe.checkpoint.every > 0;
        let saved = is_due(step, recipe.checkpoint.every) || last || stopping;
        if saved {
            checkpoint = Some(session.save_checkpoint(step, &log, observer)?);
        }
        if step < steps && !stopping && is_due(step, recipe.eval.every) {
            session.evaluate_once(step, &mut log, observer)?;
            stopping = stop.load(Ordering::Relaxed);
            if stopping && !saved {
                checkpoint = Some(session.save_checkpoint(step, &log, observer)?);
            }
        }
    }
    if step < steps {
        return Ok(Outcome::Stopped { step, steps, checkpoint });
    }
    // The final model is the exponential moving average (EMA) of the weights, if there is one;
    // checkpoints hold both.
    session.exchange_average()?;
    if recipe.eval.after || is_due(step, recipe.eval.every) {
        session.evaluate_once(step, &mut log, observer)?;
    }
    session.sample_once(step, &mut log, observer)?;
    Ok(Outcome::Finished { model: session.save_model(&mut log, observer)? })
}

/// What a run reads must not be part of the run that is to be overwritten.
pub(crate) fn refuse_to_overwrite_inputs(recipe: &Recipe) -> Result<(), TrainError> {
    let absolute = |path: &Path| path.canonicalize().map_err(TrainError::io("read", path));
    let output = absolute(&recipe.output.dir)?;
    let adapter = recipe.adapter.as_ref().and_then(|adapter| adapter.path.as_deref());
    let sources = |field, sources: &[Source]| -> Vec<(&'static str, PathBuf)> {
        sources.iter().map(|source| (field, source.path.clone())).collect()
    };
    let mut inputs = vec![("model.path", recipe.model.path.clone())];
    inputs.extend(adapter.map(|path| ("adapter.path", path.to_owned())));
    inputs.extend(recipe.reference.path.clone().map(|path| ("reference.path", path)));
    inputs.extend(sources("data.train", &recipe.data.train));
    inputs.extend(sources("data.eval", &recipe.data.eval));
    for (field, path) in inputs {
        // What is not there is reported when it is read.
        if path.canonicalize().is_ok_and(|path| path.starts_with(&output)) {
            let problem = format!(
                "`{}` lies inside `output.dir`, whose earlier run `--overwrite` deletes; choose \
                 another `output.dir`",
                path.display()
            );
            return Err(TrainError::recipe(field, problem));
        }
    }
    Ok(())
}

/// Whether something that happens every so many steps (0: never) happens after a step.
fn is_due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}
