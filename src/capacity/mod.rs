//! How much a server bears, how much of it is used, what binds it, and when it will not be enough.
//! What is judged is figures that were measured: of load runs, which stand in the log, and of this
//! process. Every judgement here is a pure function of them.

mod advice;
mod bottleneck;
mod complexity;
mod forecast;
pub mod machine;
mod measured;
mod resource;
mod window;

pub use advice::{Advice, advice};
pub use bottleneck::{Bottleneck, Evidence, Kind, bottleneck};
pub use complexity::{Complexity, Timed, complexities};
pub use forecast::{Forecast, History, Month, TRAFFIC_PERCENT_A_MONTH, forecast};
pub use machine::Build;
pub use measured::{Measurement, Measurements};
pub use resource::{Level, Resource, WARN_SHARE};
pub use window::{Usage, Watch};
