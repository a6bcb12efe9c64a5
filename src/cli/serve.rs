//! `hindcast serve`.

use std::sync::Arc;
use std::time::Duration;

use actix_web::rt::System;
use serde_json::json;

use super::anew;
use super::arguments::{Global, Serve};
use super::output::{Failure, Output};
use crate::config::Config;
use crate::http::ConfigSource;
use crate::startup::{self, Ended, Moment};
use crate::{clock, telemetry};

/// How long a stop waits for telemetry to get away.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn run(global: &Global, options: &Serve, output: &Output) -> Result<(), Failure> {
    let config = configured(global.configuration()?, options);
    config.check_exposure().map_err(Failure::configuration)?;
    let looked_at = config.looks_only().then_some(&*config.server.data_dir);
    telemetry::start(&config.telemetry, &config.otlp, looked_at)?;
    let scheme = match config.server.tls_certificate_file.as_os_str().is_empty() {
        true => "http",
        false => "https",
    };
    let tell = |moment| {
        // Whoever started the server may not read what it prints.
        let printed = match moment {
            Moment::Bound(address) if output.json => {
                output.value(&json!({ "starting": format!("{scheme}://{address}") }))
            }
            Moment::Bound(address) => output.text(&format!("starting on {scheme}://{address}")),
            Moment::Ready(address) if output.json => {
                output.value(&json!({ "ready": format!("{scheme}://{address}") }))
            }
            Moment::Ready(address) => output.text(&format!(
                "ready, listening on {scheme}://{address}; open {scheme}://{address}/docs, stop with Ctrl-C"
            )),
        };
        if printed.is_err() {
            tracing::debug!("nobody reads standard output");
        }
    };
    let data_dir = config.server.data_dir.clone();
    let limits = config.supervision.clone();
    let (again, flags) = (global.clone(), options.clone());
    let source: ConfigSource = Arc::new(move || Ok(configured(again.load()?, &flags)));
    let running = startup::serve((config, Some(source)), tell, startup::stop_signal());
    let served = System::new().block_on(running);
    telemetry::flush(FLUSH_PATIENCE);
    let ended = served.map_err(|error| {
        let advice = error.advice(&data_dir);
        Failure::from(error).with_hint(advice)
    })?;
    let Ended::ActorFailed(reason) = ended else {
        return Ok(());
    };
    let begun = options.begun_anew.clone().unwrap_or_default();
    let Err(error) = anew::begin(begun, clock::wall().0, &limits, &reason);
    Err(Failure::failed(format!(
        "{reason}, and the process cannot begin anew: {error}"
    )))
}

/// The configuration with what the flags of this verb say.
fn configured(mut config: Config, options: &Serve) -> Config {
    if let Some(listen) = options.listen {
        config.server.listen = listen;
    }
    config.server.allow_unauthenticated |= options.allow_unauthenticated;
    if let Some(reason) = &options.safe_mode {
        config.server.safe_mode.clone_from(reason);
    }
    config
}
