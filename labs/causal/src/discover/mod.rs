//! From a dataset to a graph.
//!
//! [`discover`] is the one entry: it checks the data, runs the chosen algorithm and hands back a
//! [`Discovery`] that depends on nothing but its arguments. Algorithms for numbers read the cached
//! second moments of the dataset and never its rows; scores for categories read its codes. Where
//! a dataset comes from is the caller's.

mod active_set;
mod bootstrap;
mod boss;
mod ceiling;
mod checks;
mod constraint;
mod coordinate;
mod correlation;
mod cpdag;
mod dagma;
mod defaults;
mod discrete;
mod eqvar;
mod exponential;
mod gaussian;
mod ges;
mod grasp;
mod handling;
mod knowledge;
mod least_squares;
mod lingam;
mod notears;
mod options;
mod order_descent;
mod orthant;
mod regression;
mod rendering;
mod request;
mod result;
mod score;
mod scoring;
mod search;
mod stepwise;
mod threshold;
mod trees;

pub use crate::graph::{EdgeType, GraphKind};
pub use bootstrap::{EdgeStability, PairStability, Stability};
pub use handling::{Handling, Missing};
pub use knowledge::Background;
pub use options::{
    Algorithm, BossOptions, ConstraintOptions, CorrelationOptions, DagmaOptions, DiscoverOptions,
    EqvarOptions, GesOptions, GraspOptions, LingamOptions, NotearsOptions, TestChoice,
};
pub use rendering::{Rendering, render};
pub use request::DiscoverRequest;
pub use result::{
    ALGORITHM_VERSION, Convergence, Discovery, Edge, Graph, Parameters, ScoreName, StartObjective,
    Warning, WarningCode,
};

pub use scoring::{ScoreChoice, ScoreOptions};

use bootstrap::Bootstrap;
use knowledge::Knowledge;
use result::{Outcome, Provenance};
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
    discover_with(data, options, Handling::default(), (seed, control))
}

/// The same with a say in what is done with the rows.
pub fn discover_with(
    data: &Dataset,
    options: &DiscoverOptions,
    handling: Handling,
    (seed, control): (u64, &dyn Control),
) -> Result<Discovery, LabError> {
    control.check()?;
    let stated = options.background().unwrap_or(&NOTHING_KNOWN);
    let knowledge = Knowledge::new(stated, data.names())?;
    let options = &options.resolved(data)?;
    let other = handling.moments(data, options, control)?;
    let data = other.as_ref().unwrap_or(data);
    let mut warnings = checks::check(data, options, control)?;
    let setting = Setting {
        data,
        knowledge: &knowledge,
        seed,
        control,
    };
    let outcome = search(setting, options)?;
    warnings.extend(checks::judge(data, options, &outcome, control)?);
    let stability = stability(setting, options, handling.bootstrap)?;
    warnings.extend(stability.as_ref().and_then(checks::failed_replicates));
    let digest = data.digest_within(control)?;
    let provenance = Provenance {
        seed,
        digest,
        handling,
    };
    result::assemble(data, options, provenance, (outcome, stability), warnings)
}

/// Refuses what [`discover_with`] refuses before it searches; nothing is searched.
///
/// # Errors
/// The data, or what is said of them, make no sense to this algorithm.
pub fn check(
    data: &Dataset,
    options: &DiscoverOptions,
    (handling, control): (Handling, &dyn Control),
) -> Result<(), LabError> {
    Knowledge::new(options.background().unwrap_or(&NOTHING_KNOWN), data.names())?;
    let options = &options.resolved(data)?;
    let other = handling.moments(data, options, control)?;
    checks::check(other.as_ref().unwrap_or(data), options, control).map(|_| ())
}

fn stability(
    setting: Setting<'_>,
    options: &DiscoverOptions,
    replicates: u32,
) -> Result<Option<Stability>, LabError> {
    if replicates == 0 {
        return Ok(None);
    }
    let bootstrap = Bootstrap {
        data: setting.data,
        replicates,
        seed: setting.seed,
        rows: handling::reads_rows(options),
    };
    let again = |data: &Dataset, control: &dyn Control| {
        let setting = Setting {
            data,
            control,
            knowledge: setting.knowledge,
            seed: setting.seed,
        };
        Ok(search(setting, options)?.edges)
    };
    bootstrap.run(again, setting.control).map(Some)
}

fn search(setting: Setting<'_>, options: &DiscoverOptions) -> Result<Outcome, LabError> {
    let Setting {
        data,
        knowledge,
        seed: _,
        control,
    } = setting;
    match options {
        DiscoverOptions::Boss(options) => {
            let restarts = options.restarts_for(data.width());
            search::run(setting, &options.score, Plan::Boss { restarts })
        }
        DiscoverOptions::Grasp(options) => {
            let restarts = options.restarts_for(data.width());
            let depth = options.depth;
            search::run(setting, &options.score, Plan::Grasp { restarts, depth })
        }
        DiscoverOptions::Ges(options) => {
            let turning = options.turning;
            search::run(setting, &options.score, Plan::Ges { turning })
        }
        DiscoverOptions::Eqvar(options) => eqvar::run(data, options, knowledge, control),
        DiscoverOptions::Correlation(options) => Ok(correlation::run(data, options)),
        DiscoverOptions::Notears(options) => notears::run(data, options, knowledge, control),
        DiscoverOptions::Pc(options) => constraint::run_pc(data, options, knowledge, control),
        DiscoverOptions::Fci(options) => constraint::run_fci(data, options, knowledge, control),
        DiscoverOptions::DirectLingam(options) => lingam::run(data, options, knowledge, control),
        DiscoverOptions::Dagma(options) => dagma::run(data, options, knowledge, control),
    }
}
