//! The command line of questions about the past.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct StateOf {
    /// Whose state: a stream, or all for the whole.
    #[arg(default_value = "all")]
    pub(crate) stream: String,
    /// The sequence of an event, or a time; the end of the log if left out.
    #[arg(long, value_name = "SEQ or TIME")]
    pub(crate) at: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The first moment: the sequence of an event, or a time.
    #[arg(value_name = "A")]
    pub(crate) from: String,
    /// The second moment.
    #[arg(value_name = "B")]
    pub(crate) to: String,
    /// Whose state: a stream, or all for the whole.
    #[arg(default_value = "all")]
    pub(crate) stream: String,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// A run, an experiment, an event or a dataset, by its id, sequence or digest.
    pub(crate) id: String,
    /// What led to it, what it led to, or both.
    #[arg(long, value_enum, default_value_t = ExplainDirection::Both)]
    pub(crate) direction: ExplainDirection,
    /// Print a graph for other programs: dot is Graphviz, svg a picture.
    #[arg(long, value_enum)]
    pub(crate) format: Option<ExplainFormat>,
    /// Go on with what followed after this sequence.
    #[arg(long, value_name = "SEQ")]
    pub(crate) after: Option<u64>,
    /// How many runs that followed.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainDirection {
    Backward,
    Forward,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainFormat {
    Dot,
    Svg,
}
