//! A training run, top to bottom.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use half::bf16;
use ift_backend::{Backend, NumberType, Reference};
use ift_cpu::{Cpu, Number};
use ift_data::Row;
use ift_methods::{Method, RowKind};
use ift_model::{Model, config_of};

use crate::checkpoint::{self, Checkpoint, Checkpoints, State};
use crate::kept_reference::KeptReference;
use crate::log::Log;
use crate::observer::{Observer, Phase, Progress, Start};
use crate::output::RunFolder;
use crate::stages::train_stages;
use crate::{
    Data, Learner, Plan, Precision, PreferenceMetrics, Recipe, StepContext, StepMetrics, Sums,
    TrainError, durable, estimate, evaluate, metrics, samples,
};

/// How to start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunOptions {
    /// Goes on from the newest complete checkpoint of the output folder; from the beginning if
    /// there is none.
    pub resume: bool,
    /// Deletes an earlier run in the output folder and starts anew. Not together with `resume`.
    pub overwrite: bool,
    /// Goes on even if the training rows are others than the checkpoint's.
    pub accept_other_data: bool,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished {
        /// The final model, a Hugging Face folder.
        model: PathBuf,
    },
    /// It was asked to stop.
    Stopped {
        /// Steps done.
        step: u64,
        /// All steps.
        steps: u64,
        /// The checkpoint to resume from; `None` if no step was done in this process.
        checkpoint: Option<PathBuf>,
    },
}

/// Trains as a recipe says.
///
/// When `stop` becomes true, the step at hand is finished and a checkpoint written.
///
/// # Errors
/// As [`TrainError`] lists. Checkpoints that were complete stay so.
pub fn train(
    recipe: &Recipe,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    recipe.validate()?;
    if recipe.stage.is_empty() {
        train_one(recipe, options, stop, observer)
    } else {
        train_stages(recipe, options, stop, observer)
    }
}

/// Trains as a recipe without stages says.
pub(crate) fn train_one(
    recipe: &Recipe,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    match recipe.train.precision {
        Precision::F32 => train_on_cpu::<f32>(recipe, options, stop, observer),
        Precision::Bf16 => train_on_cpu::<bf16>(recipe, options, stop, observer),
        Precision::F64 => train_on(Reference, 1, recipe, options, stop, observer),
    }
}

fn train_on_cpu<N: Number>(
    recipe: &Recipe,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let cpu = Cpu::<N>::new(recipe.train.threads);
    let threads = cpu.threads();
    train_on(cpu, threads, recipe, options, stop, observer)
}

fn train_on<B: Backend>(
    backend: B,
    threads: usize,
    recipe: &Recipe,
    options: &RunOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    // What is cheap to find wrong comes before the data is read.
    let reference = recipe.reference.path.as_ref().filter(|_| recipe.method.needs().reference);
    for path in [Some(&recipe.model.path), reference].into_iter().flatten() {
        config_of(path)?;
    }
    let folder = RunFolder::open(&recipe.output.dir, options)?;
    if options.overwrite {
        refuse_to_overwrite_the_model(recipe)?;
    }
    let origin = Origin::find(&folder, options)?;
    observer.phase(Phase::ReadingData);
    let data = Data::load(recipe, origin.clock())?;
    observer.phase(Phase::ReadingModel);
    let backend = Arc::new(backend);
    let watch = &mut |done, rows| {
        observer.asked_reference(done, rows);
        stop.load(Ordering::Relaxed)
    };
    let kept = KeptReference::load(recipe, &data, &backend, &folder.reference(), watch)?;
    let Some(reference) = kept else {
        let steps = Plan::new(data.train.rows.len(), &recipe.train).steps();
        return Ok(Outcome::Stopped { step: 0, steps, checkpoint: None });
    };
    let mut run = Run::load(backend, threads, recipe, &data, reference, folder, origin.clock())?;
    let (mut step, mut log) = run.begin(origin, options, observer)?;

    let steps = run.plan.steps();
    if step == 0 {
        if recipe.eval.before {
            run.evaluate(step, &mut log, observer)?;
        }
        run.sample(step, &mut log, observer)?;
    }
    let pace = Pace::new(step);
    let mut checkpoint = None;
    let mut stopping = stop.load(Ordering::Relaxed);
    while step < steps && !stopping {
        let metrics = run.step(step)?;
        step += 1;
        log.step(&metrics)?;
        observer.stepped(&metrics, &pace.progress(step, steps));
        if step == steps {
            // What is kept at the end is the running mean of the weights, where there is one;
            // checkpoints hold both.
            run.learner.swap_average();
        }
        if is_due(step, recipe.eval.every) || (step == steps && recipe.eval.after) {
            run.evaluate(step, &mut log, observer)?;
        }
        if step == steps {
            run.sample(step, &mut log, observer)?;
            run.learner.swap_average();
        }
        stopping = stop.load(Ordering::Relaxed);
        let last = step == steps && recipe.checkpoint.every > 0;
        if is_due(step, recipe.checkpoint.every) || last || stopping {
            log.sync()?;
            checkpoint = Some(run.save_checkpoint(step, observer)?);
        }
    }
    if step < steps {
        return Ok(Outcome::Stopped { step, steps, checkpoint });
    }
    log.sync()?;
    run.learner.swap_average();
    observer.phase(Phase::Saving);
    Ok(Outcome::Finished { model: run.save_model()? })
}

/// The model to start from must not be part of the run that is to be overwritten.
pub(crate) fn refuse_to_overwrite_the_model(recipe: &Recipe) -> Result<(), TrainError> {
    let absolute = |path: &Path| path.canonicalize().map_err(TrainError::io("read", path));
    if absolute(&recipe.model.path)?.starts_with(absolute(&recipe.output.dir)?) {
        let problem = "lies inside `output.dir`, whose earlier run `--overwrite` deletes; choose another `output.dir`";
        return Err(TrainError::recipe("model.path", problem));
    }
    Ok(())
}

/// Whether something that happens every so many steps (0: never) happens after a step.
fn is_due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

/// Where a run begins.
struct Origin {
    /// The newest complete checkpoint, if the run is to be resumed and there is one.
    checkpoint: Option<Checkpoint>,
    /// What is to be said about the others.
    notices: Vec<String>,
}

impl Origin {
    fn find(folder: &RunFolder, options: &RunOptions) -> Result<Self, TrainError> {
        if !options.resume {
            return Ok(Self { checkpoint: None, notices: Vec::new() });
        }
        let (checkpoint, mut notices) = folder.checkpoints().newest()?;
        if checkpoint.is_none() {
            if folder.model().exists() {
                return Err(TrainError::Finished { path: folder.path().to_owned() });
            }
            notices.push(
                "there is no complete checkpoint: the run starts from its beginning".to_owned(),
            );
        }
        Ok(Self { checkpoint, notices })
    }

    /// The time that the run's chat template writes.
    fn clock(&self) -> i64 {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        self.checkpoint.as_ref().map_or_else(now, |checkpoint| checkpoint.state.clock)
    }
}

/// Everything a step works on.
struct Run<'a, B: Backend> {
    recipe: &'a Recipe,
    threads: usize,
    learner: Learner<B>,
    reference: KeptReference<B>,
    data: &'a Data,
    plan: Plan,
    warmup_steps: u64,
    folder: RunFolder,
    checkpoints: Checkpoints,
    clock: i64,
}

impl<'a, B: Backend> Run<'a, B> {
    fn load(
        backend: Arc<B>,
        threads: usize,
        recipe: &'a Recipe,
        data: &'a Data,
        reference: KeptReference<B>,
        folder: RunFolder,
        clock: i64,
    ) -> Result<Self, TrainError> {
        let path = &recipe.model.path;
        let model = match &recipe.adapter {
            Some(adapter) => Model::load_adapted(path, backend, adapter, recipe.train.seed)?,
            None => Model::load(path, backend)?,
        };
        data.check_vocabulary(model.config().vocabulary)?;
        let input_embeddings = recipe.method.trains_input_embeddings();
        let learner = Learner::new(model, recipe.optimizer.clone(), input_embeddings)
            .checking_gradients(recipe.train.check_gradients)
            .averaging(recipe.train.ema_decay);
        let plan = Plan::new(data.train.rows.len(), &recipe.train);
        let warmup_steps = recipe.schedule.warmup_steps(plan.steps());
        let checkpoints = folder.checkpoints();
        Ok(Self {
            recipe,
            threads,
            learner,
            reference,
            data,
            plan,
            warmup_steps,
            folder,
            checkpoints,
            clock,
        })
    }

    /// Restores what a resumed run goes on from, opens the logs and reports. Returns the number of
    /// steps done.
    fn begin(
        &mut self,
        origin: Origin,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<(u64, Log), TrainError> {
        let Origin { checkpoint, mut notices } = origin;
        let mut step = 0;
        if let Some(checkpoint) = &checkpoint {
            let (recipe, identity) = (self.recipe, &self.data.train.identity);
            let (path, state) = (&checkpoint.path, &checkpoint.state);
            notices.extend(state.check(path, recipe, identity, options.accept_other_data)?);
            step = state.step;
            if step > self.plan.steps() {
                let problem = format!(
                    "is at step {step}, beyond the {} steps of the recipe",
                    self.plan.steps()
                );
                return Err(TrainError::file(path, problem));
            }
            checkpoint.restore(&mut self.learner)?;
            self.reference.restore_old_policy(checkpoint.old_policy()?);
        }
        self.note_long_rows(&mut notices);
        if options.overwrite {
            // Only now, when data and model are read, is it sure that there will be a run in its
            // place.
            self.folder.clear()?;
        }
        durable::write_file(&self.folder.recipe(), self.recipe.to_toml()?.as_bytes())?;
        let log = Log::open(&self.folder, options.resume.then_some(step))?;
        observer.started(&self.report(step, checkpoint.map(|c| c.path), notices));
        Ok((step, log))
    }

    fn note_long_rows(&self, notices: &mut Vec<String>) {
        let limit = self.learner.model().config().max_positions;
        let long = self.data.train.rows.iter().filter(|row| row.answer().len() > limit).count();
        if long > 0 {
            notices.push(format!(
                "{long} training rows are longer than the {limit} tokens that the model was made for \
                 (`max_position_embeddings`); consider a lower `data.max_length`"
            ));
        }
    }

    fn report(
        &self,
        steps_done: u64,
        resumed_from: Option<PathBuf>,
        notices: Vec<String>,
    ) -> Start {
        let parameters = self.learner.model().parameters();
        Start {
            weights: parameters.iter().map(|p| p.len).sum(),
            trainable: self.learner.trainable(),
            threads: self.threads,
            memory: estimate::memory(
                self.recipe,
                self.learner.model(),
                self.reference.resident(),
                &self.data.train.rows,
            ),
            train: self.data.train.report.clone(),
            held_out: self.data.held_out.as_ref().map(|d| d.report.clone()),
            rows: self.data.train.rows.len(),
            steps: self.plan.steps(),
            steps_per_epoch: self.plan.steps_per_epoch(),
            warmup_steps: self.warmup_steps,
            resumed_from,
            steps_done,
            notices,
        }
    }

    /// One optimizer step, counted from 0: forward and backward over its rows, clipping, update.
    fn step(&mut self, step: u64) -> Result<StepMetrics, TrainError> {
        let start = Instant::now();
        let recipe = self.recipe;
        let (model, budget) = (self.learner.model(), recipe.train.micro_batch_tokens);
        self.reference.renew(step, &mut self.plan, &self.data.train.rows, model, budget)?;
        let numbers = self.plan.rows_of(step);
        let rows: Vec<&Row> = numbers.iter().map(|&i| &self.data.train.rows[i]).collect();
        let reference = self.reference.of_train(numbers);
        let context = StepContext {
            method: &recipe.method,
            lambda: recipe.method.lambda_at(step, self.warmup_steps, recipe.train.seed),
            seed: recipe.train.seed,
            step,
            noise: recipe.train.neftune_alpha,
            recompute: recipe.train.recompute,
            micro_batch_tokens: budget,
        };
        let lr = recipe.optimizer.lr() * recipe.schedule.factor(step, self.plan.steps());
        let (sums, norm) = self.learner.step(&reference, &rows, &context, lr)?;
        Ok(self.metrics(step + 1, &sums, context.lambda, lr, norm, start.elapsed()))
    }

    fn metrics(
        &self,
        step: u64,
        sums: &Sums,
        lambda: f64,
        lr: f64,
        norm: f64,
        time: Duration,
    ) -> StepMetrics {
        let (method, needs) = (&self.recipe.method, self.recipe.method.needs());
        let two_passes = method.look_ahead().is_some();
        let is_likelihood = matches!(method, Method::Lm(_) | Method::Sft(_));
        let plain = |sum: f64| sum / sums.plain_count;
        let kl = match sums.divergence {
            _ if needs.rows == RowKind::Judged => Some(sums.kl_point),
            (_, 0) => None,
            (sum, count) => Some(sum / count as f64),
        };
        let seconds = time.as_secs_f64();
        StepMetrics {
            step,
            epoch: self.plan.epochs_done(step),
            loss: sums.loss / sums.count,
            first_pass_loss: two_passes.then(|| plain(sums.first_pass)),
            unweighted_loss: two_passes.then(|| plain(sums.unweighted)),
            lambda: two_passes.then_some(lambda),
            pushed_down: two_passes.then_some(sums.pushed_down as f64 / sums.targets as f64),
            nll: (!two_passes && !is_likelihood && sums.plain_count > 0.0)
                .then(|| plain(sums.unweighted)),
            kl,
            preference: PreferenceMetrics::of(sums),
            lr,
            grad_norm: norm,
            rows: sums.rows,
            targets: sums.targets,
            tokens: sums.tokens,
            seconds,
            tokens_per_second: sums.tokens as f64 / seconds,
            peak_memory_bytes: metrics::peak_memory(),
        }
    }

    /// Measures the loss on the held-out rows, if there are any.
    fn evaluate(
        &self,
        step: u64,
        log: &mut Log,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let Some(held_out) = &self.data.held_out else { return Ok(()) };
        observer.phase(Phase::Evaluating);
        let budget = self.recipe.train.micro_batch_tokens;
        let rows: Vec<&Row> = held_out.rows.iter().collect();
        let reference = self.reference.of_held_out();
        let metrics =
            evaluate(self.learner.model(), &reference, &rows, &self.recipe.method, budget, step)?;
        log.eval(&metrics)?;
        observer.evaluated(&metrics);
        Ok(())
    }

    /// Answers the recipe's prompts, if there are any.
    fn sample(
        &self,
        step: u64,
        log: &mut Log,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        if self.recipe.generate.prompts.is_empty() {
            return Ok(());
        }
        observer.phase(Phase::Sampling);
        for sample in
            samples::answer(self.learner.model(), &self.data.tokenizer, self.recipe, step)?
        {
            log.sample(&sample)?;
            observer.sampled(&sample);
        }
        Ok(())
    }

    fn save_checkpoint(
        &self,
        step: u64,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf, TrainError> {
        observer.phase(Phase::Saving);
        let recipe = self.recipe;
        let (identity, position) = (&self.data.train.identity, self.plan.position(step));
        let state = State::new(recipe, self.clock, identity, step, self.plan.steps(), position);
        let number = self.number();
        let keep = recipe.checkpoint.keep;
        let path = self.checkpoints.save(
            &state,
            &self.learner,
            self.reference.old_policy(),
            number,
            keep,
        )?;
        observer.checkpointed(step, &path);
        Ok(path)
    }

    /// The type that weights are saved in. An adapter was not loaded from a file of any type; it is
    /// small, and f32.
    fn number(&self) -> NumberType {
        let model = self.learner.model();
        let loaded = if model.is_adapted() { NumberType::F32 } else { model.number() };
        self.recipe.checkpoint.number.number(loaded)
    }

    fn save_model(&self) -> Result<PathBuf, TrainError> {
        let path = self.folder.model();
        let number = self.number();
        durable::write_folder(&path, |folder| {
            checkpoint::save_model(self.learner.model(), folder, number)
        })?;
        Ok(path)
    }
}

/// How fast this process steps.
struct Pace {
    start: Instant,
    first: u64,
}

impl Pace {
    fn new(steps_done: u64) -> Self {
        Self { start: Instant::now(), first: steps_done }
    }

    /// `step`: steps done, at least one of them by this process.
    fn progress(&self, step: u64, steps: u64) -> Progress {
        let steps_left = steps - step;
        let each = self.start.elapsed().as_secs_f64() / (step - self.first).max(1) as f64;
        let time_left =
            Duration::try_from_secs_f64(each * steps_left as f64).unwrap_or(Duration::MAX);
        Progress { steps, steps_left, time_left }
    }
}
