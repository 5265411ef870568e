//! Every method, by its defaults and by the settings that change its formula.

use ift_methods::{
    Asft, Dft, Dpo, Eaft, Formula, Ift, Ipo, IwSft, KlDirection, Kto, Level, Lm, Method, Orpo,
    Psft, Reduction, ScheduledSampling, Sft, Side, Simpo, Tdpo1, Tdpo2,
};

/// Each method at least once, and at least once away from its defaults where it has settings.
pub fn every_method() -> Vec<Method> {
    let reduction = Reduction::Sequence;
    vec![
        Method::Lm(Lm::default()),
        Method::Sft(Sft::default()),
        Method::Ift(Ift::default()),
        Method::Ift(Ift { side: Side::Right, reduction: Reduction::Token, ..Ift::default() }),
        Method::Ift(Ift { formula: Formula::Paper, ..Ift::default() }),
        Method::Ift(Ift { formula: Formula::Equation, ..Ift::default() }),
        Method::Ift(Ift { formula: Formula::Algorithm, ..Ift::default() }),
        Method::Dpo(Dpo::default()),
        Method::Dpo(Dpo { label_smoothing: 0.1, ..Dpo::default() }),
        Method::Dpo(Dpo { beta: 0.7, reference_free: true, ..Dpo::default() }),
        Method::Ipo(Ipo::default()),
        Method::Ipo(Ipo { beta: 0.6, ipo_average: true }),
        Method::Orpo(Orpo::default()),
        Method::Orpo(Orpo { beta: 2.0 }),
        Method::Simpo(Simpo::default()),
        Method::Simpo(Simpo { beta: 0.5, gamma_beta_ratio: 0.0 }),
        Method::Tdpo1(Tdpo1::default()),
        Method::Tdpo1(Tdpo1 { beta: 0.8 }),
        Method::Tdpo2(Tdpo2::default()),
        Method::Tdpo2(Tdpo2 { beta: 0.8, alpha: 1.5 }),
        Method::Kto(Kto::default()),
        Method::Kto(Kto { beta: 0.5, desirable_weight: 2.0, undesirable_weight: 0.5 }),
        Method::Dft(Dft::default()),
        Method::Dft(Dft { reduction }),
        Method::Asft(Asft::default()),
        Method::Asft(Asft { lambda: 0.7, direction: KlDirection::Reverse, reduction }),
        Method::Eaft(Eaft::default()),
        Method::Eaft(Eaft { alpha: 2.5, k: 5, reduction }),
        Method::IwSft(IwSft::default()),
        Method::IwSft(IwSft { temperature: 2.0, reduction, ..IwSft::default() }),
        Method::IwSft(IwSft { level: Level::Token, ..IwSft::default() }),
        Method::Psft(Psft::default()),
        Method::Psft(Psft { epsilon: 0.05, window: 0, reduction }),
        Method::ScheduledSampling(ScheduledSampling::default()),
    ]
}
