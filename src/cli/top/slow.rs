//! `hindcast top slow`: the routes that take the time, by their P95 or by the time of all their
//! requests together. Pure: two pages of metrics in, a table out.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;

use super::view::grown;
use crate::metrics::read::{Scrape, quantile};

/// What the slowest are the slowest by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// What one in twenty requests of the route takes at least.
    P95,
    /// The time of all its requests together.
    Total,
}

/// How slow a route is.
#[derive(Debug, Serialize)]
pub(super) struct SlowRoute {
    method: String,
    path: String,
    requests: u64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// Of all its requests together.
    total_s: f64,
    /// Of the time of all routes, from 0 to 1.
    share: f64,
}

/// The routes that were asked, the slowest first.
#[derive(Debug, Serialize)]
pub(super) struct Slow {
    /// The time that was looked at; null from the start of the server on.
    seconds: Option<f64>,
    routes: Vec<SlowRoute>,
}

impl Slow {
    /// What was asked between two looks; from the server's start on without `before`.
    pub(super) fn between(before: Option<(&Scrape, f64)>, now: &Scrape, by: By) -> Self {
        let none = Scrape::parse("", |_| false);
        let then = before.map_or(&none, |(page, _)| page);
        let total = |page: &Scrape, method: &str, path: &str| {
            let labels = [("method", method), ("path", path)];
            page.sum("http_request_duration_seconds_sum", &labels)
                .unwrap_or(0.0)
        };
        let all = grown(then, now).into_iter();
        let mut routes: Vec<SlowRoute> = all
            .map(|((method, path), buckets)| {
                let ms = |share| quantile(&buckets, share).map(|seconds| seconds * 1e3);
                let count = buckets.last().map_or(0.0, |(_, count)| *count);
                let spent = total(now, &method, &path) - total(then, &method, &path);
                SlowRoute {
                    requests: format!("{count:.0}").parse().unwrap_or(0),
                    p50_ms: ms(0.5),
                    p95_ms: ms(0.95),
                    p99_ms: ms(0.99),
                    total_s: spent.max(0.0),
                    share: 0.0,
                    method,
                    path,
                }
            })
            .collect();
        let spent: f64 = routes.iter().map(|route| route.total_s).sum();
        for route in routes.iter_mut().filter(|_| spent > 0.0) {
            route.share = route.total_s / spent;
        }
        let rank = |route: &SlowRoute| match by {
            By::P95 => route.p95_ms.unwrap_or(0.0),
            By::Total => route.total_s,
        };
        routes.sort_by(|a, b| rank(b).total_cmp(&rank(a)));
        Self {
            seconds: before.map(|(_, seconds)| seconds),
            routes,
        }
    }

    /// The table for people.
    pub(super) fn text(&self) -> String {
        let mut out = match self.seconds {
            Some(seconds) => format!("over {seconds:.1} s\n"),
            None => "since the server began\n".to_owned(),
        };
        out.push_str(&format!(
            "{:<44} {:>9} {:>9} {:>9} {:>9} {:>10} {:>7}",
            "route", "requests", "P50 ms", "P95 ms", "P99 ms", "total s", "of all"
        ));
        let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.2}"));
        for route in &self.routes {
            let _ = write!(
                out,
                "\n{:<44} {:>9} {:>9} {:>9} {:>9} {:>10.2} {:>5.1} %",
                format!("{} {}", route.method, route.path),
                route.requests,
                ms(route.p50_ms),
                ms(route.p95_ms),
                ms(route.p99_ms),
                route.total_s,
                route.share * 100.0
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A route that is asked often and answers at once, and one that is asked seldom and takes long.
    fn page(factor: u64) -> Scrape {
        let mut text = String::new();
        for (path, quick, all, sum) in [("/often", 1_000, 1_000, 2), ("/slow", 0, 10, 9)] {
            let route = format!("method=\"GET\",path=\"{path}\"");
            let name = "http_request_duration_seconds";
            for (bound, count) in [("0.01", quick), ("1", all), ("+Inf", all)] {
                let count = count * factor;
                text.push_str(&format!(
                    "{name}_bucket{{{route},le=\"{bound}\"}} {count}\n"
                ));
            }
            text.push_str(&format!("{name}_sum{{{route}}} {}\n", sum * factor));
        }
        Scrape::parse(&text, |_| true)
    }

    #[test]
    fn the_slow_stand_before_those_that_are_asked_often() {
        let found = Slow::between(None, &page(1), By::P95);
        let first = &found.routes[0];
        assert_eq!((&*first.path, first.requests), ("/slow", 10));
        assert!((first.share - 9.0 / 11.0).abs() < 1e-9);
        assert!(found.text().starts_with("since the server began"));
        let later = Slow::between(Some((&page(1), 5.0)), &page(3), By::Total);
        let first = &later.routes[0];
        assert_eq!((&*first.path, first.requests), ("/slow", 20));
        assert!((first.total_s - 18.0).abs() < 1e-9);
        assert!(later.text().starts_with("over 5.0 s"));
        let same = page(1);
        assert!(
            Slow::between(Some((&same, 1.0)), &same, By::P95)
                .routes
                .is_empty()
        );
    }
}
