//! Everything that a run's steps work on.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ift_backend::{Backend, NumberType};
use ift_model::{Model, Trained};
use ift_parallel::Solo;

use super::measures::{self, DoneStep};
use super::origin::Beginning;
use super::resumed;
use super::rounding::{self, Losses, Measured};
use crate::checkpoint::{Checkpoints, Snapshot, State};
use crate::context::StepSettings;
use crate::data::{Data, continued_chat, find_file};
use crate::error::TrainError;
use crate::kept_reference::KeptReference;
use crate::learner::Learner;
use crate::log::Log;
use crate::metrics::StepMetrics;
use crate::observer::{Observer, Phase, Start};
use crate::options::RunOptions;
use crate::output::{RunFolder, RunRecord};
use crate::recipe::{Recipe, SaveAs};
use crate::rows::{DataRows, RowSource};
use crate::saved::{CHAIN, Card, ChatFiles, Description, Prompt, Usage, write_model};
use crate::step::check_method;
use crate::stops::Stops;
use crate::{doubts, durable, estimate, samples};

/// The backend of a run and its number of threads.
pub(super) struct Device<B> {
    pub backend: Arc<B>,
    pub threads: usize,
}

/// A run whose data and models are loaded.
pub(super) struct Session<'a, B: Backend> {
    recipe: &'a Recipe,
    threads: usize,
    learner: Learner<B>,
    reference: KeptReference<B>,
    data: &'a Data,
    source: DataRows<'a>,
    settings: StepSettings<'a>,
    folder: RunFolder,
    checkpoints: Checkpoints,
    beginning: Beginning,
    /// The template and the ends of turns of the run, for the folders that it writes.
    chat: Option<ChatFiles>,
    /// The loss before training, where it is needed and known.
    start_loss: Option<f64>,
    /// The loss after the last step, once it is known.
    final_loss: Option<f64>,
}

impl<'a, B: Backend> Session<'a, B> {
    /// Loads the model.
    ///
    /// # Errors
    /// If it cannot be loaded, or does not go with the data or the method.
    pub fn begin(
        device: Device<B>,
        recipe: &'a Recipe,
        data: &'a Data,
        (source, reference): (DataRows<'a>, KeptReference<B>),
        folder: RunFolder,
        beginning: Beginning,
    ) -> Result<Self, TrainError> {
        let (path, train, method) = (&recipe.model.path, &recipe.train, &recipe.method);
        let trained = match &recipe.adapter {
            Some(adapter) => Trained::Adapters { adapter, seed: train.seed },
            None => Trained::All { input_embeddings: method.trains_input_embeddings() },
        };
        let model = Model::load(path, device.backend, trained)?;
        data.check_vocabulary(model.config().vocabulary)?;
        check_method(method, model.config().vocabulary)?;
        let learner = Learner::new(model, recipe.optimizer.clone(), train.ema_decay)?
            .checking_gradients(train.check_gradients);
        let settings = StepSettings {
            method,
            seed: train.seed,
            warmup_steps: recipe.schedule.warmup_steps(source.steps()),
            noise: train.neftune_alpha,
            recompute: train.recompute,
            micro_batch_tokens: train.micro_batch_tokens,
            collective: &Solo,
        };
        let (threads, checkpoints) = (device.threads, folder.checkpoints());
        let chat = ChatFiles::of(data, recipe)?;
        Ok(Self {
            recipe,
            threads,
            learner,
            reference,
            data,
            source,
            settings,
            folder,
            checkpoints,
            beginning,
            chat,
            start_loss: None,
            final_loss: None,
        })
    }

    /// Restores the checkpoint of a resumed run, opens the logs and reports. Returns the number of
    /// steps done.
    pub fn open(
        &mut self,
        options: &RunOptions,
        observer: &mut dyn Observer,
    ) -> Result<(u64, Log), TrainError> {
        let mut step = 0;
        if let Some(checkpoint) = &self.beginning.checkpoint {
            step = checkpoint.state.step;
            if step > self.source.steps() {
                let problem = format!(
                    "is {}, but `{}` is at step {step} already; expected at least as many",
                    self.source.steps(),
                    checkpoint.path.display()
                );
                return Err(TrainError::recipe("train.steps", problem));
            }
            checkpoint.restore(&mut self.learner)?;
            if self.beginning.plan == checkpoint.state.plan {
                self.reference.restore_old_policy(checkpoint.old_policy()?);
            }
            self.start_loss = self.beginning.start_loss();
        }
        if options.overwrite {
            // Only now, with data and model loaded, is it certain that a new run replaces it.
            self.folder.clear()?;
        }
        self.write_record(false)?;
        durable::write_file(&self.folder.recipe(), self.recipe.to_toml()?.as_bytes())?;
        let samples = self.recipe.generate.prompts.len();
        let extended =
            self.beginning.checkpoint.as_ref().is_some_and(|checkpoint| {
                resumed::is_extended(&checkpoint.state, self.source.steps())
            });
        let again = extended && self.recipe.train.ema_decay.is_some();
        let log = Log::open(&self.folder, options.resume.then_some(step), samples, again)?;
        observer.started(&self.report(step));
        Ok((step, log))
    }

    /// Writes what the run is made of, and whether it is finished.
    fn write_record(&self, finished: bool) -> Result<(), TrainError> {
        let Beginning { identity, accepted, clock, .. } = &self.beginning;
        let (identity, accepted) = (identity.clone(), accepted.clone());
        let record = RunRecord { clock: *clock, identity, accepted, finished };
        durable::write_json(&self.folder.record(), &record)
    }

    /// The recipe.
    pub fn recipe(&self) -> &'a Recipe {
        self.recipe
    }

    /// All optimizer steps of the run.
    pub fn steps(&self) -> u64 {
        self.source.steps()
    }

    /// Swaps the weights and their exponential moving average (EMA), if there is one.
    pub fn exchange_average(&mut self) -> Result<(), TrainError> {
        self.learner.exchange_average()
    }

    /// One optimizer step, counted from 0: forward and backward over its rows, clipping, update.
    pub fn step(&mut self, step: u64) -> Result<StepMetrics, TrainError> {
        let start = Instant::now();
        let recipe = self.recipe;
        let lr = recipe.optimizer.lr() * recipe.schedule.factor(step, self.steps());
        let (model, budget) = (self.learner.model(), self.settings.micro_batch_tokens);
        self.reference.renew(step, &mut self.source, model, budget)?;
        let rows = self.source.rows_of(step);
        let reference = self.reference.of_train(&rows.numbers);
        let context = self.settings.at(step);
        let (sums, norm) = self.learner.step(&reference, &rows.rows, &context, lr)?;
        let done = DoneStep {
            step: step + 1,
            epoch: self.source.epochs_done(step + 1),
            lambda: context.lambda,
            lr,
            norm,
            sums: &sums,
            time: start.elapsed(),
        };
        Ok(measures::of_step(&recipe.method, &done))
    }

    /// What the loss is measured on.
    fn measured(&self) -> Measured<'_, B> {
        Measured {
            method: self.settings.method,
            micro_batch_tokens: self.settings.micro_batch_tokens,
            data: self.data,
            reference: &self.reference,
        }
    }

    /// Measures the loss on the held-out rows, if there are any.
    pub fn evaluate(
        &mut self,
        step: u64,
        log: &mut Log,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        if self.data.held_out.is_none() {
            return Ok(());
        }
        observer.phase(Phase::Evaluating);
        let metrics = self.measured().measure(self.learner.model(), step)?;
        log.eval(&metrics)?;
        observer.evaluated(&metrics);
        let loss = Some(Measured::<B>::loss(&metrics));
        if step == 0 {
            self.start_loss = loss;
        } else if step == self.steps() {
            self.final_loss = loss;
        }
        Ok(())
    }

    /// The same, unless an interrupted run did it already.
    pub fn evaluate_once(
        &mut self,
        step: u64,
        log: &mut Log,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        if log.has_evaluated(step) { Ok(()) } else { self.evaluate(step, log, observer) }
    }

    /// Measures the loss before training, if the end of the run is to be compared with it and the
    /// evaluation did not measure it.
    pub fn measure_start(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        if self.start_loss.is_none() && rounding::narrow(self.number()) {
            observer.phase(Phase::Evaluating);
            let metrics = self.measured().measure(self.learner.model(), 0)?;
            self.start_loss = Some(Measured::<B>::loss(&metrics));
        }
        Ok(())
    }

    /// Answers the recipe's prompts, if there are any.
    pub fn sample(
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

    /// The same, unless an interrupted run did it already.
    pub fn sample_once(
        &self,
        step: u64,
        log: &mut Log,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        if log.has_sampled(step) { Ok(()) } else { self.sample(step, log, observer) }
    }

    /// Writes a checkpoint after `step` steps.
    pub fn save_checkpoint(
        &self,
        step: u64,
        log: &Log,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf, TrainError> {
        observer.phase(Phase::Saving);
        log.sync()?;
        let Beginning { identity, accepted, plan, clock, .. } = &self.beginning;
        let (format, version) = State::written_by();
        let tensors = self.learner.model().trainable().tensors();
        let state = State {
            format,
            version,
            step,
            steps: self.source.steps(),
            trained: Some(tensors.iter().map(|tensor| tensor.name.clone()).collect()),
            position: self.source.position(step),
            plan: *plan,
            clock: *clock,
            start_loss: self.start_loss.map(|loss| loss.to_string()),
            identity: identity.clone(),
            accepted: accepted.clone(),
        };
        let number = self.fitting_number();
        let snapshot = Snapshot {
            state: &state,
            learner: &self.learner,
            old_policy: self.reference.old_policy(),
            number,
            description: &self.description(step, number)?,
        };
        let path = self.checkpoints.save(&snapshot, self.recipe.checkpoint.keep)?;
        observer.checkpointed(step, &path);
        Ok(path)
    }

    /// Writes the final model, after measuring what rounding to its type does.
    pub fn save_model(
        &mut self,
        log: &mut Log,
        observer: &mut dyn Observer,
    ) -> Result<PathBuf, TrainError> {
        let (step, mut number) = (self.steps(), self.number());
        if rounding::narrow(number) {
            observer.phase(Phase::Evaluating);
            let in_memory = match self.final_loss {
                Some(loss) => loss,
                None => Measured::<B>::loss(&self.measured().measure(self.learner.model(), step)?),
            };
            let losses = Losses { step, before: self.start_loss, in_memory };
            let measured = Measured {
                method: self.settings.method,
                micro_batch_tokens: self.settings.micro_batch_tokens,
                data: self.data,
                reference: &self.reference,
            };
            let (chosen, rounding) =
                rounding::measure(&mut self.learner, &measured, self.recipe, number, &losses)?;
            number = chosen;
            log.rounding(&rounding)?;
            observer.rounded(&rounding);
        }
        log.sync()?;
        observer.phase(Phase::Saving);
        let (path, description) = (self.folder.model(), self.description(step, number)?);
        durable::write_folder(&path, |folder| {
            write_model(self.learner.model(), folder, number, &description)
        })?;
        self.write_record(true)?;
        Ok(path)
    }

    /// What a folder that is written after `step` steps says besides its weights.
    fn description(&self, step: u64, number: NumberType) -> Result<Description<'_>, TrainError> {
        let card = Card {
            recipe: self.recipe,
            data: self.data,
            metrics: &self.folder.metrics(),
            step,
            steps: self.steps(),
            number,
            rounds_frozen: self.rounds_frozen(number),
            usage: self.usage(),
        };
        // The base may have been removed during the run.
        let is_gone = !self.recipe.model.path.exists();
        let newest = is_gone.then(|| self.checkpoints.newest().ok()?.0).flatten();
        let files_from = newest.map(|checkpoint| checkpoint.path);
        Ok(Description { chat: self.chat.as_ref(), card: card.text()?, files_from })
    }

    /// Whether saving as `number` rounds tensors that are not trained.
    fn rounds_frozen(&self, number: NumberType) -> bool {
        let model = self.learner.model();
        let is_part = model.trainable().element_count() < model.element_count();
        !model.is_adapted() && is_part && number.size() < model.number().size()
    }

    /// How a folder that is written is used.
    fn usage(&self) -> Usage {
        let recipe = self.recipe;
        let of_base = || Stops::of_run(recipe).is_ok_and(|stops| !stops.texts().is_empty());
        let config = || find_file(recipe, "generation_config.json");
        Usage {
            adapted: recipe.adapter.is_some(),
            prompt: self.chat.as_ref().map_or(Prompt::Text(recipe.data.bos), |_| Prompt::Chat),
            stops_at_text: self.chat.as_ref().map_or_else(of_base, ChatFiles::stops_at_text),
            generation_config: self.chat.is_some() || config().is_ok_and(|file| file.is_some()),
        }
    }

    /// The type that weights are saved in. An adapter was not loaded from a file of any type; it is
    /// small, and f32.
    fn number(&self) -> NumberType {
        let model = self.learner.model();
        let loaded = if model.is_adapted() { NumberType::F32 } else { model.number() };
        self.recipe.checkpoint.number.number(loaded)
    }

    /// The same, unless a weight is too large for it and the recipe leaves the choice: then f32.
    fn fitting_number(&self) -> NumberType {
        let (number, asked) = (self.number(), self.recipe.checkpoint.number);
        let wide = asked == SaveAs::Auto && rounding::narrow(number);
        if wide && !self.learner.model().fits(number) { NumberType::F32 } else { number }
    }

    fn report(&self, steps_done: u64) -> Start {
        let (model, rows) = (self.learner.model(), self.source.all());
        let mut notices = self.beginning.notices.clone();
        if let Some(checkpoint) = &self.beginning.checkpoint {
            notices.extend(resumed::notices(self.recipe, &checkpoint.state, self.source.steps()));
        }
        notices.extend(self.chat.as_ref().and_then(ChatFiles::notice));
        if model.is_adapted()
            && ift_model::base_folder(&self.recipe.model.path).is_ok_and(|b| b.is_some())
        {
            notices.push(format!("the adapter's base is an adapter itself: {CHAIN}"));
        }
        if let Some(folder) = continued_chat(self.recipe) {
            notices.push(format!(
                "the adapter in `{}` is continued with its own tokenizer, chat template and ends \
                 of turns, not those of `model.path`",
                folder.display()
            ));
        }
        notices.extend(doubts::of(self.recipe, rows.len(), self.source.steps()));
        let limit = model.config().max_positions;
        let long = rows.iter().filter(|row| row.answer().len() > limit).count();
        if long > 0 {
            notices.push(format!(
                "{long} training rows are longer than the {limit} tokens that the model was made \
                 for (`max_position_embeddings`); consider a lower `data.max_length`"
            ));
        }
        Start {
            weights: model.element_count(),
            trainable: model.trainable().element_count(),
            threads: self.threads,
            memory: estimate::memory(self.recipe, model, self.reference.resident(), rows),
            train: self.data.train.report.clone(),
            held_out: self.data.held_out.as_ref().map(|d| d.report.clone()),
            rows: rows.len(),
            steps: self.source.steps(),
            steps_per_epoch: self.source.steps_per_epoch(),
            warmup_steps: self.settings.warmup_steps,
            resumed_from: self.beginning.checkpoint.as_ref().map(|c| c.path.clone()),
            steps_done,
            notices,
        }
    }
}
