//! `hindcast capacity`: what a server bears, and how much of it is used.

use std::fmt::Write as _;

use clap::Subcommand;
use serde_json::Value;

use super::arguments::Global;
use super::client::{Client, print};
use super::output::{Failure, Output};
use super::target;

#[derive(Debug, Subcommand)]
pub(crate) enum Capacity {
    /// What load runs measured, what is used and left, what binds, whether to grow, what will be.
    #[command(
        after_help = "Examples:\n  hindcast capacity report --server http://127.0.0.1:8080\n  \
        hindcast capacity report --json"
    )]
    Report,
}

pub(crate) fn run(global: &Global, verb: &Capacity, output: &Output) -> Result<(), Failure> {
    let Capacity::Report = verb;
    let reply = Client::to(&target::url(global)?, global)?.get("/api/v1/capacity")?;
    print(output, &reply, text)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

fn text(found: &Value) -> String {
    let mut out = String::new();
    let _ = write_all(&mut out, found);
    out.trim_end().to_owned()
}

fn write_all(out: &mut String, found: &Value) -> std::fmt::Result {
    let build = &found["build"];
    writeln!(
        out,
        "build       {} ({}), {} processors, {}",
        word(&build["version"]),
        word(&build["binary"]),
        build["cores"],
        shown("bytes", &build["memory_bytes"])
    )?;
    write_measurements(out, found)?;
    writeln!(
        out,
        "\n{:<16} {:>12} {:>12} {:>7}  left to 80 %",
        "resource", "used", "of", "%"
    )?;
    for one in list(&found["resources"]) {
        let unit = word(&one["unit"]);
        let share = one["share"].as_f64();
        writeln!(
            out,
            "{:<16} {:>12} {:>12} {:>7}  {:<12} {}",
            word(&one["name"]),
            shown(unit, &one["used"]),
            shown(unit, &one["limit"]),
            share.map_or("-".to_owned(), |share| format!("{:.1}", share * 100.0)),
            shown(unit, &one["headroom"]),
            match word(&one["level"]) {
                "ok" => "",
                level => level,
            }
        )?;
    }
    for warning in list(&found["warnings"]) {
        writeln!(out, "warning: {}", word(warning))?;
    }
    write_judgement(out, found)?;
    write_forecast(out, &found["forecast"])?;
    writeln!(out, "\n{:<30} {:<62} mean s here", "computation", "grows")?;
    for one in list(&found["complexity"]) {
        let mean = one["measured_mean_s"].as_f64();
        let mean = mean.map_or("-".to_owned(), |mean| {
            format!(
                "{mean:.4} ({}, {})",
                word(&one["operation"]),
                one["measured_count"]
            )
        });
        writeln!(
            out,
            "{:<30} {:<62} {mean}",
            word(&one["what"]),
            word(&one["order"])
        )?;
    }
    for one in list(&found["operations"]) {
        writeln!(
            out,
            "{:<30} {} computations here, whatever the algorithm: {:.4} s in the mean",
            word(&one["operation"]),
            one["count"],
            number(&one["mean_s"])
        )?;
    }
    Ok(())
}

fn write_measurements(out: &mut String, found: &Value) -> std::fmt::Result {
    let mut any = false;
    for one in list(&found["measurements"]) {
        if !any {
            writeln!(out, "\nmeasured")?;
        }
        any = true;
        let point = &one["breaking_point"];
        let broke = match point.is_null() {
            true => "held".to_owned(),
            false => format!(
                "broke with {} users ({})",
                point["users"],
                word(&point["rule"])
            ),
        };
        writeln!(
            out,
            "  {} {:<10} {:<9} {:>6} users {:>9.1} requests/s  P95 {:>8.2} ms  P99 {:>8.2} ms  {broke}; {} processors{}{}",
            word(&one["at"]).get(..19).unwrap_or("?"),
            word(&one["scenario"]),
            word(&one["mix"]),
            one["users"],
            number(&one["rps"]),
            number(&one["p95_ms"]),
            number(&one["p99_ms"]),
            one["cores"],
            if one["beside"] == true {
                ", load on the same machine"
            } else {
                ""
            },
            if one["this_build"] == true {
                ""
            } else {
                ", another build"
            },
        )?;
    }
    if !any {
        writeln!(out, "measured    nothing yet: hindcast load ramp --record")?;
    }
    Ok(())
}

fn write_judgement(out: &mut String, found: &Value) -> std::fmt::Result {
    let bottleneck = &found["bottleneck"];
    writeln!(out, "\nbottleneck  {}", word(&bottleneck["kind"]))?;
    for one in list(&bottleneck["evidence"]) {
        writeln!(
            out,
            "            {:<62} {:.3}, binds from {}",
            word(&one["figure"]),
            number(&one["value"]),
            one["binds_from"]
        )?;
    }
    writeln!(out, "            {}", word(&bottleneck["advice"]))?;
    let advice = &found["advice"];
    for (name, yes, reasons) in [
        ("scale up", "scale_up", "scale_up_reasons"),
        ("scale out", "scale_out", "scale_out_reasons"),
    ] {
        let answer = if advice[yes] == true { "yes" } else { "no" };
        let reasons: Vec<&str> = list(&advice[reasons]).map(word).collect();
        let line = format!("{name:<11} {answer} {}", reasons.join("; "));
        writeln!(out, "{}", line.trim_end())?;
    }
    for note in list(&advice["notes"]) {
        writeln!(out, "            {}", word(note))?;
    }
    Ok(())
}

fn write_forecast(out: &mut String, forecast: &Value) -> std::fmt::Result {
    if let Some(why) = forecast["not_enough_history"].as_str() {
        return writeln!(out, "\nforecast    not enough history: {why}");
    }
    writeln!(
        out,
        "\nforecast    {} events a day now, {} % more each month ({}), {} bytes each",
        forecast["events_per_day"],
        forecast["growth_percent_a_month"],
        word(&forecast["growth_is"]),
        forecast["bytes_per_event"]
    )?;
    for month in list(&forecast["months"]) {
        writeln!(
            out,
            "            in {:>2} months {:>12.0} events a day, {} of the disk used ({:.1} %)",
            number(&month["months"]),
            number(&month["events_per_day"]),
            shown("bytes", &month["disk_used_bytes"]),
            number(&month["disk_share"]) * 100.0
        )?;
    }
    match forecast["days_to_80_percent"].as_u64() {
        Some(days) => writeln!(out, "            80 % of the disk are used in {days} days"),
        None => writeln!(
            out,
            "            80 % of the disk are not used within ten years"
        ),
    }
}

/// A figure in its unit.
fn shown(unit: &str, value: &Value) -> String {
    let Some(value) = value.as_f64() else {
        return "-".to_owned();
    };
    match unit {
        "bytes" if value >= 10.0 * 1_073_741_824.0 => format!("{:.1} GiB", value / 1_073_741_824.0),
        "bytes" => format!("{:.1} MiB", value / 1_048_576.0),
        "percent" => format!("{value:.1} %"),
        _ => format!("{value:.0}"),
    }
}
