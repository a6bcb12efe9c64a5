//! What is seen of a server between two looks. Pure: two pages in, a view out.

use std::collections::BTreeMap;

use hindcast_actors::views::rfc3339;
use hindcast_model::UnixMicros;
use serde::Serialize;
use serde_json::Value;

use crate::metrics::read::{Row, Scrape, quantile};

/// Routes that are shown, those asked most first.
const ROUTES_MAX: usize = 15;

/// What was read at one moment.
pub(super) struct Page {
    /// Of the monotonic clock.
    pub(super) at_micros: u64,
    pub(super) wall_micros: u64,
    pub(super) metrics: Scrape,
    pub(super) actors: Vec<Value>,
    pub(super) breakers: Vec<Value>,
}

/// A view of the server.
#[derive(Debug, Serialize)]
pub(super) struct View {
    pub(super) at: String,
    /// Between the two looks.
    pub(super) seconds: f64,
    pub(super) version: String,
    pub(super) requests_per_s: f64,
    /// Answers of 500 and above without 503.
    pub(super) failures_per_s: f64,
    /// 429 and 503.
    pub(super) turned_away_per_s: f64,
    pub(super) in_flight: Option<f64>,
    pub(super) connections: Option<f64>,
    pub(super) runs_in_flight: Option<f64>,
    pub(super) routes: Vec<Route>,
    pub(super) lanes: Vec<Lane>,
    pub(super) actors: Vec<Actor>,
    pub(super) breakers: Vec<Breaker>,
    pub(super) caches: Vec<Cache>,
    pub(super) process: Process,
    pub(super) log: LogView,
    pub(super) backups: Vec<Backup>,
}

#[derive(Debug, Serialize)]
pub(super) struct Route {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) requests_per_s: f64,
    pub(super) p50_ms: Option<f64>,
    pub(super) p95_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Lane {
    pub(super) lane: String,
    pub(super) limit: f64,
    pub(super) in_flight: f64,
    pub(super) waiting: f64,
    pub(super) turned_away_per_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Actor {
    pub(super) name: String,
    pub(super) phase: String,
    pub(super) mailbox_depth: u64,
    pub(super) mailbox_max: u64,
    pub(super) restarts: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Breaker {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) calls: u64,
    pub(super) failures: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Cache {
    pub(super) name: String,
    pub(super) lookups_per_s: f64,
    /// Between the two looks; null when nothing was looked up.
    pub(super) hit_ratio: Option<f64>,
    pub(super) bytes: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Process {
    pub(super) resident_bytes: Option<f64>,
    /// Of one processor.
    pub(super) cpu_percent: Option<f64>,
    pub(super) threads: Option<f64>,
    pub(super) descriptors: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct LogView {
    pub(super) sequence: Option<f64>,
    pub(super) events_per_s: Option<f64>,
    pub(super) queued: Option<f64>,
    pub(super) lag_events: Option<f64>,
    pub(super) frames_per_s: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Backup {
    pub(super) target: String,
    pub(super) kind: String,
    pub(super) age_s: f64,
    /// Of the last backup of the target that was restored and compared.
    pub(super) verified_age_s: Option<f64>,
}

/// Two pages and the time between them.
struct Between<'a> {
    before: &'a Scrape,
    now: &'a Scrape,
    seconds: f64,
}

impl Between<'_> {
    fn level(&self, family: &str) -> Option<f64> {
        self.now.sum(family, &[])
    }

    /// What a family grew by in a second; what a restart set back began at 0.
    fn rate(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let now = self.now.sum(family, labels)?;
        let before = self.before.sum(family, labels).unwrap_or(0.0);
        let grown = if now < before { now } else { now - before };
        Some(grown / self.seconds)
    }

    fn status_rate(&self, of: impl Fn(&str) -> bool) -> f64 {
        let count = |page: &Scrape| {
            let rows = page.rows("http_requests_total");
            let counted = rows.filter(|row| of(row.label("status")));
            counted.map(|row| row.value).sum::<f64>()
        };
        (count(self.now) - count(self.before)).max(0.0) / self.seconds
    }
}

impl View {
    pub(super) fn between(before: &Page, now: &Page) -> Self {
        let micros = now.at_micros.saturating_sub(before.at_micros).max(1);
        let both = Between {
            before: &before.metrics,
            now: &now.metrics,
            seconds: micros as f64 / 1e6,
        };
        let build = now.metrics.rows("build_info").next();
        Self {
            at: rfc3339(UnixMicros(now.wall_micros)),
            seconds: both.seconds,
            version: build.map_or("?", |row| row.label("version")).to_owned(),
            requests_per_s: both.status_rate(|_| true),
            failures_per_s: both.status_rate(|status| status >= "500" && status != "503"),
            turned_away_per_s: both.status_rate(|status| matches!(status, "429" | "503")),
            in_flight: both.level("active_requests"),
            connections: both.level("active_connections"),
            runs_in_flight: both.level("runs_in_flight"),
            routes: routes(&both),
            lanes: lanes(&both),
            actors: now.actors.iter().map(actor).collect(),
            breakers: now.breakers.iter().map(breaker).collect(),
            caches: caches(&both),
            process: Process {
                resident_bytes: both.level("process_resident_memory_bytes"),
                cpu_percent: both
                    .rate("process_cpu_seconds_total", &[])
                    .map(|cpu| cpu * 100.0),
                threads: both.level("process_threads"),
                descriptors: both.level("process_open_fds"),
            },
            log: LogView {
                sequence: both.level("log_head_sequence"),
                events_per_s: both.rate("log_head_sequence", &[]),
                queued: both.level("log_queue_depth"),
                lag_events: both.level("log_lag_events"),
                frames_per_s: both.rate("log_frames_total", &[]),
            },
            backups: backups(&now.metrics, now.wall_micros),
        }
    }
}

/// Cumulative buckets by bound, for each route: method and path.
type Buckets = BTreeMap<(String, String), Vec<(f64, f64)>>;

fn buckets(page: &Scrape) -> Buckets {
    let mut all = Buckets::new();
    for row in page.rows("http_request_duration_seconds_bucket") {
        let bound = match row.label("le") {
            "+Inf" => f64::INFINITY,
            text => text.parse().unwrap_or(f64::NAN),
        };
        let route = (row.label("method").to_owned(), row.label("path").to_owned());
        all.entry(route).or_default().push((bound, row.value));
    }
    all
}

/// What the buckets of each route grew by. Routes that nobody asked are left out.
pub(super) fn grown(before: &Scrape, now: &Scrape) -> Buckets {
    let before = buckets(before);
    let mut all = buckets(now);
    for (route, counts) in &mut all {
        let then = before.get(route);
        for (index, (_, count)) in counts.iter_mut().enumerate() {
            let then = then.and_then(|then| then.get(index));
            *count = (*count - then.map_or(0.0, |(_, count)| *count)).max(0.0);
        }
    }
    all.retain(|_, counts| counts.last().is_some_and(|(_, count)| *count > 0.0));
    all
}

fn routes(both: &Between<'_>) -> Vec<Route> {
    let mut all: Vec<Route> = grown(both.before, both.now)
        .into_iter()
        .filter_map(|(route, grown)| {
            let count = grown.last()?.1;
            let ms = |share: f64| quantile(&grown, share).map(|seconds| seconds * 1e3);
            let (method, path) = route;
            Some(Route {
                method,
                path,
                requests_per_s: count / both.seconds,
                p50_ms: ms(0.5),
                p95_ms: ms(0.95),
            })
        })
        .collect();
    all.sort_by(|a, b| b.requests_per_s.total_cmp(&a.requests_per_s));
    all.truncate(ROUTES_MAX);
    all
}

fn lanes(both: &Between<'_>) -> Vec<Lane> {
    let lane = |row: &Row| {
        let name = row.label("lane");
        let of = |family: &str| both.now.sum(family, &[("lane", name)]).unwrap_or(0.0);
        let shed = both.rate("overload_shed_total", &[("lane", name)]);
        Lane {
            lane: name.to_owned(),
            limit: row.value,
            in_flight: of("overload_in_flight"),
            waiting: of("overload_waiting"),
            turned_away_per_s: shed.unwrap_or(0.0),
        }
    };
    let rows = both.now.rows("overload_concurrency_limit");
    rows.map(lane).collect()
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or("?").to_owned()
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

fn actor(found: &Value) -> Actor {
    Actor {
        name: text(found, "name"),
        phase: text(found, "phase"),
        mailbox_depth: count(found, "mailbox_depth"),
        mailbox_max: count(found, "mailbox_max"),
        restarts: count(found, "restarts"),
    }
}

fn breaker(found: &Value) -> Breaker {
    Breaker {
        name: text(found, "name"),
        state: text(found, "state"),
        calls: count(found, "calls"),
        failures: count(found, "failures"),
    }
}

fn caches(both: &Between<'_>) -> Vec<Cache> {
    let mut names: Vec<&str> = both
        .now
        .rows("cache_requests_total")
        .map(|row| row.label("cache"))
        .collect();
    names.sort_unstable();
    names.dedup();
    let cache = |name: &str| {
        let rate = |result: &str| {
            let labels = [("cache", name), ("result", result)];
            both.rate("cache_requests_total", &labels).unwrap_or(0.0)
        };
        let (hits, misses) = (rate("hit"), rate("miss"));
        let lookups = hits + misses;
        Cache {
            name: name.to_owned(),
            lookups_per_s: lookups,
            hit_ratio: (lookups > 0.0).then(|| hits / lookups),
            bytes: both.now.sum("cache_size_bytes", &[("cache", name)]),
        }
    };
    names.into_iter().map(cache).collect()
}

fn backups(page: &Scrape, wall_micros: u64) -> Vec<Backup> {
    let now = wall_micros as f64 / 1e6;
    let backup = |row: &Row| {
        let target = row.label("target");
        let verified = page.sum(
            "backup_last_verified_timestamp_seconds",
            &[("target", target)],
        );
        Backup {
            target: target.to_owned(),
            kind: row.label("kind").to_owned(),
            age_s: (now - row.value).max(0.0),
            verified_age_s: verified.map(|at| (now - at).max(0.0)),
        }
    };
    let rows = page.rows("backup_last_success_timestamp_seconds");
    rows.map(backup).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(seconds: u64, metrics: &str) -> Page {
        Page {
            at_micros: seconds * 1_000_000,
            wall_micros: (1_000 + seconds) * 1_000_000,
            metrics: Scrape::parse(metrics, |_| true),
            actors: vec![
                json!({ "name": "experiment", "phase": "running", "mailbox_depth": 3,
                "mailbox_max": 1024, "restarts": 1 }),
            ],
            breakers: vec![
                json!({ "name": "path_analysis", "state": "open", "calls": 9,
                "failures": 7 }),
            ],
        }
    }

    #[test]
    fn rates_are_what_counters_grew_by() {
        let route = "method=\"POST\",path=\"/v\"";
        let at = |ok: u32, busy: u32, below: u32, all: u32, hits: u32, cpu: f64, head: u32| {
            format!(
                "http_requests_total{{{route},status=\"200\"}} {ok}\n\
                 http_requests_total{{{route},status=\"503\"}} {busy}\n\
                 http_request_duration_seconds_bucket{{{route},le=\"0.01\"}} {below}\n\
                 http_request_duration_seconds_bucket{{{route},le=\"0.1\"}} {all}\n\
                 http_request_duration_seconds_bucket{{{route},le=\"+Inf\"}} {all}\n\
                 cache_requests_total{{cache=\"results\",result=\"hit\"}} {hits}\n\
                 cache_requests_total{{cache=\"results\",result=\"miss\"}} 10\n\
                 overload_concurrency_limit{{lane=\"cheap\"}} 8\n\
                 overload_waiting{{lane=\"cheap\"}} 2\n\
                 overload_shed_total{{lane=\"cheap\",reason=\"no_room\"}} {busy}\n\
                 process_cpu_seconds_total {cpu}\nlog_head_sequence {head}\n\
                 backup_last_success_timestamp_seconds{{kind=\"full\",target=\"local\"}} 900\n\
                 build_info{{version=\"9\"}} 1\n"
            )
        };
        let before = page(10, &at(100, 4, 90, 100, 50, 1.0, 1_000));
        let now = page(12, &at(300, 8, 190, 300, 80, 2.0, 1_400));
        let view = View::between(&before, &now);
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-6;
        assert!(near(view.requests_per_s, 102.0), "{view:?}");
        assert!(near(view.turned_away_per_s, 2.0));
        assert!(near(view.failures_per_s, 0.0));
        let route = &view.routes[0];
        assert!(near(route.requests_per_s, 100.0));
        assert!(near(route.p50_ms.expect("times"), 10.0));
        assert!(near(route.p95_ms.expect("times"), 91.0));
        assert_eq!(view.caches[0].hit_ratio, Some(1.0));
        let lane = &view.lanes[0];
        assert!(near(lane.limit, 8.0) && near(lane.waiting, 2.0));
        assert!(near(lane.turned_away_per_s, 2.0));
        assert!(near(view.process.cpu_percent.expect("cpu"), 50.0));
        assert!(near(view.log.events_per_s.expect("events"), 200.0));
        assert!(near(view.backups[0].age_s, 112.0));
        assert_eq!(
            (view.actors[0].restarts, view.actors[0].mailbox_depth),
            (1, 3)
        );
        assert_eq!(view.breakers[0].state, "open");
        assert_eq!(view.version, "9");
        // A server that began anew counts from 0.
        let anew = View::between(&now, &page(14, "process_cpu_seconds_total 0.5\n"));
        assert!(near(anew.process.cpu_percent.expect("cpu"), 25.0));
        assert!(anew.routes.is_empty());
    }
}
