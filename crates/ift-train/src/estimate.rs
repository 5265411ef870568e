//! How much memory a run needs, before it begins.

use ift_backend::Backend;
use ift_data::Row;
use ift_model::{Model, memory};

use crate::pack::{Part, pack};
use crate::plan::{Plan, PlanStart};
use crate::recipe::Recipe;

/// Bytes that a run needs at most, about: those of the most demanding micro-batch of its first
/// epoch.
pub(crate) fn memory<B: Backend>(
    recipe: &Recipe,
    model: &Model<B>,
    reference: Option<memory::Resident>,
    rows: &[Row],
) -> usize {
    let (table, method) = (&recipe.train, &recipe.method);
    let settings = memory::Settings {
        states: recipe.optimizer.state_names().len() + usize::from(table.ema_decay.is_some()),
        recompute: table.recompute,
        input_embeddings: method.trains_input_embeddings(),
        adapter: model.adapter(),
        reference,
    };
    let (part, split) = (Part::Answers(method.needs().rows), method.look_ahead().is_some());
    let sizes: Vec<memory::Batch> = rows.iter().map(|row| size_of_row(row, part, split)).collect();
    let mut plan = Plan::new(rows.len(), table, PlanStart::default());
    let formula = memory::Formula::new(model.config(), model.backend().footprint(), settings);
    let mut most = 0;
    for step in 0..plan.steps().min(plan.steps_per_epoch()) {
        let order = plan.rows_of(step);
        let lengths = order.iter().map(|&i| part.tokens(&rows[i]));
        for run in ift_engine::runs(lengths, table.micro_batch_tokens) {
            let batch = order[run].iter().map(|&i| sizes[i]).sum();
            most = most.max(formula.need(batch).total());
        }
    }
    most
}

/// What a row adds to a micro-batch; with `split` it is cut before its first target.
fn size_of_row(row: &Row, part: Part, split: bool) -> memory::Batch {
    let one = [row];
    // A row that cannot be trained on stops the run elsewhere, with its name.
    let packed = pack(&one, usize::MAX, part, split);
    packed.map_or_else(
        |_| memory::Batch::default(),
        |batch| memory::Batch {
            prompts: batch.prompts.tokens.len(),
            continuations: batch.continuations.tokens.len(),
            targets: batch.targets.len(),
        },
    )
}
