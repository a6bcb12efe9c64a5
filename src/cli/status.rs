//! `hindcast status`: how a running server is, in one look.

use serde_json::Value;

use super::arguments::Global;
use super::client::Client;
use super::output::{Failure, Output};
use super::target;

pub(crate) fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let url = target::url(global)?;
    let client = Client::to(&url, global)?;
    let mut health = client.health()?;
    // One that starts, or does not say everything to everybody, is not asked for more.
    if health["components"].is_object()
        && let Ok(services) = client
            .get("/health/services")
            .and_then(|reply| reply.value())
        && let Some(health) = health.as_object_mut()
    {
        let all = services["services"].as_array().into_iter().flatten();
        let ailing = all.filter(|service| service["status"] != "HEALTHY");
        health.insert("ailing_services".to_owned(), ailing.cloned().collect());
    }
    output.either(&health.to_string(), || Ok(text(&health)))?;
    match health["status"].as_str() {
        Some("ok") => Ok(()),
        status => Err(Failure::failed(format!(
            "the server is {}",
            status.unwrap_or("not well")
        ))),
    }
}

fn text(health: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let found = &health["components"];
    let mut lines = vec![format!(
        "status      {} (version {})",
        word(&health["status"]),
        word(&health["version"])
    )];
    for reason in health["reasons"].as_array().into_iter().flatten() {
        lines.push(format!("            {}", word(reason)));
    }
    if let Some(recovery) = health["recovery"].as_str() {
        lines.push(format!("recovery    {recovery}"));
    }
    if found.is_object() {
        let (log, store, runs) = (&found["log"], &found["store"], &found["runs"]);
        lines.push(format!(
            "log         event {}, {} queued, lookup store {} behind",
            log["sequence"], log["queued"], store["lag_events"]
        ));
        lines.push(format!(
            "runs        {} in flight, at most {}",
            runs["in_flight"], runs["in_flight_max"]
        ));
        let disk = &found["disk"];
        if let (Some(free), Some(size)) = (disk["free_bytes"].as_u64(), disk["size_bytes"].as_u64())
        {
            lines.push(format!(
                "disk        {} of {} MiB are free",
                free >> 20,
                size >> 20
            ));
        }
    }
    for service in health["ailing_services"].as_array().into_iter().flatten() {
        lines.push(format!(
            "service     {:<12} {}: {}",
            word(&service["service"]),
            word(&service["status"]),
            word(&service["reason"])
        ));
    }
    for reason in found["slo"]["reasons"].as_array().into_iter().flatten() {
        lines.push(format!("frozen      {}", word(reason)));
    }
    for actor in found["actors"].as_array().into_iter().flatten() {
        lines.push(format!(
            "actor       {:<12} {:<10} mailbox {}/{}, restarts {}",
            word(&actor["name"]),
            word(&actor["phase"]),
            actor["mailbox_depth"],
            actor["mailbox_max"],
            actor["restarts"]
        ));
    }
    lines.join("\n")
}
