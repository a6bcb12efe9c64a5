//! From a dataset to a graph.
//!
//! [`discover`] is the one entry: it checks the data, runs the chosen algorithm and hands back a
//! [`Discovery`] that depends on nothing but its arguments. Algorithms for numbers read the cached
//! second moments of the dataset and never its rows; scores for categories read its codes. Where
//! a dataset comes from is the caller's.

mod boss;
mod checks;
mod constraint;
mod coordinate;
mod correlation;
mod cpdag;
mod dagma;
mod discrete;
mod eqvar;
mod exponential;
mod gaussian;
mod ges;
mod grasp;
mod knowledge;
mod least_squares;
mod lingam;
mod notears;
mod order_descent;
mod orthant;
mod regression;
mod request;
mod result;
mod score;
mod scoring;
mod search;
mod stepwise;
mod threshold;
mod trees;

pub use crate::graph::GraphKind;
pub use knowledge::Background;
pub use request::{
    Algorithm, BossOptions, ConstraintOptions, CorrelationOptions, DagmaOptions, DiscoverOptions,
    DiscoverRequest, EqvarOptions, GesOptions, GraspOptions, LingamOptions, NotearsOptions,
    TestChoice,
};
pub use result::{
    ALGORITHM_VERSION, Convergence, Discovery, Edge, EdgeType, Graph, Parameters, ScoreName,
    StartObjective, Warning, WarningCode,
};

pub use scoring::{ScoreChoice, ScoreOptions};

use knowledge::Knowledge;
use result::Provenance;
use search::{Plan, Setting};

use crate::control::Control;
use crate::data::Dataset;
use crate::error::LabError;

/// Most variables any of the algorithms takes (`score` packs a variable into eleven bits).
pub const VARIABLES_MAX: usize = 1000;
/// Most variables NOTEARS takes: its cost is a matrix exponential at every step.
pub const NOTEARS_VARIABLES_MAX: usize = 200;

static NOTHING_KNOWN: Background = Background {
    required: Vec::new(),
    forbidden: Vec::new(),
    tiers: Vec::new(),
};

/// Learns a graph. The same arguments give the same bytes, whatever the number of threads.
pub fn discover(
    data: &Dataset,
    options: &DiscoverOptions,
    seed: u64,
    control: &dyn Control,
) -> Result<Discovery, LabError> {
    control.check()?;
    let stated = options.background().unwrap_or(&NOTHING_KNOWN);
    let knowledge = Knowledge::new(stated, data.names())?;
    let options = &options.resolved(data)?;
    let mut warnings = checks::check(data, options, control)?;
    let setting = Setting {
        data,
        knowledge: &knowledge,
        seed,
        control,
    };
    let outcome = match options {
        DiscoverOptions::Boss(options) => {
            let restarts = options.restarts;
            search::run(setting, &options.score, Plan::Boss { restarts })?
        }
        DiscoverOptions::Grasp(options) => {
            let (restarts, depth) = (options.restarts_for(data.width()), options.depth);
            search::run(setting, &options.score, Plan::Grasp { restarts, depth })?
        }
        DiscoverOptions::Ges(options) => {
            let turning = options.turning;
            search::run(setting, &options.score, Plan::Ges { turning })?
        }
        DiscoverOptions::Eqvar(options) => eqvar::run(data, options, &knowledge, control)?,
        DiscoverOptions::Correlation(options) => correlation::run(data, options),
        DiscoverOptions::Notears(options) => notears::run(data, options, &knowledge, control)?,
        DiscoverOptions::Pc(options) => constraint::run_pc(data, options, &knowledge, control)?,
        DiscoverOptions::Fci(options) => constraint::run_fci(data, options, &knowledge, control)?,
        DiscoverOptions::DirectLingam(options) => lingam::run(data, options, &knowledge, control)?,
        DiscoverOptions::Dagma(options) => dagma::run(data, options, &knowledge, control)?,
    };
    checks::judge(data, options, &outcome, &mut warnings);
    control.check()?;
    let digest = data.digest_within(control)?;
    result::assemble(
        data,
        options,
        Provenance { seed, digest },
        outcome,
        warnings,
    )
}
