//! A view as text: a screen of plain lines.

use std::fmt::Write as _;

use super::view::View;

/// The view of the server at this URL.
pub(super) fn of(view: &View, url: &str) -> String {
    let mut out = String::new();
    let _ = write(&mut out, view, url);
    out.trim_end().to_owned()
}

fn write(out: &mut String, view: &View, url: &str) -> std::fmt::Result {
    writeln!(
        out,
        "{url}  version {}  {}",
        view.version,
        view.at.get(..19).unwrap_or(&view.at)
    )?;
    writeln!(
        out,
        "requests {:.1}/s  failed {:.1}/s  turned away {:.1}/s  in flight {}  connections {}  runs {}",
        view.requests_per_s,
        view.failures_per_s,
        view.turned_away_per_s,
        whole(view.in_flight),
        whole(view.connections),
        whole(view.runs_in_flight)
    )?;
    let process = &view.process;
    writeln!(
        out,
        "memory {} MiB  processor {} %  threads {}  descriptors {}",
        whole(process.resident_bytes.map(|bytes| bytes / 1_048_576.0)),
        whole(process.cpu_percent),
        whole(process.threads),
        whole(process.descriptors)
    )?;
    let log = &view.log;
    writeln!(
        out,
        "log at {}  {} events/s in {} frames/s  queued {}  lookup store {} behind",
        whole(log.sequence),
        whole(log.events_per_s),
        whole(log.frames_per_s),
        whole(log.queued),
        whole(log.lag_events)
    )?;
    write_routes(out, view)?;
    write_lanes(out, view)?;
    write_actors(out, view)?;
    write_breakers(out, view)?;
    write_caches(out, view)?;
    write_backups(out, view)
}

fn write_caches(out: &mut String, view: &View) -> std::fmt::Result {
    for cache in &view.caches {
        let ratio = cache.hit_ratio.map(|ratio| ratio * 100.0);
        writeln!(
            out,
            "cache {:<12} {:>9.1} lookups/s  hits {:>4} %  {} MiB",
            cache.name,
            cache.lookups_per_s,
            whole(ratio),
            whole(cache.bytes.map(|bytes| bytes / 1_048_576.0))
        )?;
    }
    Ok(())
}

fn write_backups(out: &mut String, view: &View) -> std::fmt::Result {
    if view.backups.is_empty() {
        writeln!(out, "backup none is known")?;
    }
    for backup in &view.backups {
        writeln!(
            out,
            "backup {:<12} {:<12} {} old, verified {}",
            backup.target,
            backup.kind,
            age(backup.age_s),
            backup
                .verified_age_s
                .map_or("never".to_owned(), |seconds| format!(
                    "{} ago",
                    age(seconds)
                ))
        )?;
    }
    Ok(())
}

fn write_routes(out: &mut String, view: &View) -> std::fmt::Result {
    if view.routes.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:<44} {:>10} {:>9} {:>9}",
        "route", "requests/s", "P50 ms", "P95 ms"
    )?;
    for route in &view.routes {
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
        writeln!(
            out,
            "{:<44} {:>10.1} {:>9} {:>9}",
            format!("{} {}", route.method, route.path),
            route.requests_per_s,
            ms(route.p50_ms),
            ms(route.p95_ms)
        )?;
    }
    Ok(())
}

fn write_lanes(out: &mut String, view: &View) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:<12} {:>9} {:>9} {:>9} {:>13}",
        "lane", "in flight", "at most", "waiting", "turned away/s"
    )?;
    for lane in &view.lanes {
        writeln!(
            out,
            "{:<12} {:>9.0} {:>9.0} {:>9.0} {:>13.1}",
            lane.lane, lane.in_flight, lane.limit, lane.waiting, lane.turned_away_per_s
        )?;
    }
    Ok(())
}

fn write_actors(out: &mut String, view: &View) -> std::fmt::Result {
    writeln!(
        out,
        "\n{:<16} {:<11} {:>13} {:>9}",
        "actor", "phase", "mailbox", "restarts"
    )?;
    for actor in &view.actors {
        writeln!(
            out,
            "{:<16} {:<11} {:>13} {:>9}",
            actor.name,
            actor.phase,
            format!("{}/{}", actor.mailbox_depth, actor.mailbox_max),
            actor.restarts
        )?;
    }
    Ok(())
}

/// Those that are not closed, one each; the others are counted.
fn write_breakers(out: &mut String, view: &View) -> std::fmt::Result {
    let closed = view.breakers.iter().filter(|one| one.state == "closed");
    writeln!(
        out,
        "\nbreakers {} closed of {}",
        closed.count(),
        view.breakers.len()
    )?;
    for one in view.breakers.iter().filter(|one| one.state != "closed") {
        writeln!(
            out,
            "breaker {:<28} {:<12} {} of {} calls failed",
            one.name, one.state, one.failures, one.calls
        )?;
    }
    Ok(())
}

fn whole(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.0}"))
}

fn age(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} d", s / 86_400.0),
    }
}
