//! Flags of `hindcast serve`.

use std::net::SocketAddr;

use clap::Args;

use crate::cli::anew::Begun;

#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Address and port; port 0 takes any free one (key server.listen).
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<SocketAddr>,
    /// Allow an address other than loopback although nobody has to prove who they are.
    #[arg(long)]
    pub(crate) allow_unauthenticated: bool,
    /// Answer reads only: nothing is written and no run is computed (key server.safe_mode).
    #[arg(
        long,
        value_name = "REASON",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "asked for on the command line"
    )]
    pub(crate) safe_mode: Option<String>,
    /// When the process began anew before; it tells itself.
    #[arg(long, hide = true, value_name = "TIMES")]
    pub(crate) begun_anew: Option<Begun>,
}
