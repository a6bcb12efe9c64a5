//! Caches as text.

use serde_json::Value;

use super::{line, list, number, text};

fn share(value: &Value, path: &str) -> String {
    let found = value.pointer(path).and_then(Value::as_f64);
    found.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

/// Both caches.
pub(crate) fn caches(found: &Value) -> String {
    let mut out = String::new();
    let results = &found["results"];
    line(
        &mut out,
        &format!(
            "results    {} in memory, {} of {} bytes, {} evicted, hits {}{}",
            number(results, "/entries"),
            number(results, "/bytes"),
            number(results, "/bytes_max"),
            number(results, "/evictions"),
            share(results, "/hit_ratio"),
            match results["resized"].as_bool() {
                Some(true) => "; resized until the server ends",
                Some(false) | None => "",
            },
        ),
    );
    line(
        &mut out,
        &format!(
            "on disk    {}, {} to be found in the log, {} of {} bytes, {} hits, {} misses",
            text(results, "/disk/status"),
            number(results, "/disk/entries"),
            number(results, "/disk/bytes"),
            number(results, "/disk/bytes_max"),
            number(results, "/disk/hits"),
            number(results, "/disk/misses"),
        ),
    );
    if let Some(reason) = results["disk"]["reason"].as_str() {
        line(&mut out, &format!("           {reason}"));
    }
    line(
        &mut out,
        &format!(
            "datasets   {} in memory, {} of {} bytes, {} evicted, {} hits, {} misses",
            number(found, "/datasets/entries"),
            number(found, "/datasets/bytes"),
            number(found, "/datasets/bytes_max"),
            number(found, "/datasets/evictions"),
            number(found, "/datasets/hits"),
            number(found, "/datasets/misses"),
        ),
    );
    used(&mut out, results);
    out.trim_end().to_owned()
}

/// Lookups by operation, the keys used most, and what is being done.
fn used(out: &mut String, results: &Value) {
    for (name, of) in results["operations"].as_object().into_iter().flatten() {
        line(
            out,
            &format!(
                "{name:<20}  hits {} ({} read back), misses {}, waited {}, no seed {}: {}",
                number(of, "/hits"),
                number(of, "/hits_on_disk"),
                number(of, "/misses"),
                number(of, "/waited"),
                number(of, "/not_cacheable"),
                share(of, "/hit_ratio"),
            ),
        );
    }
    for top in list(results, "/top") {
        let key = text(top, "/key");
        line(
            out,
            &format!(
                "{}  {} hits, {} bytes, {} {}",
                key.get(..16).unwrap_or(key),
                number(top, "/hits"),
                number(top, "/bytes"),
                text(top, "/operation"),
                text(top, "/algorithm"),
            ),
        );
    }
    for sweep in list(results, "/invalidations") {
        line(
            out,
            &format!(
                "invalidation {}  {} of {} gone, {} a second",
                number(sweep, "/id"),
                number(sweep, "/done"),
                number(sweep, "/selected"),
                number(sweep, "/per_second"),
            ),
        );
    }
    if results["warming"].is_object() {
        line(out, &warmed(&results["warming"]));
    }
}

/// An invalidation that has begun.
pub(crate) fn invalidated(begun: &Value) -> String {
    let (selected, cache) = (number(begun, "/selected"), text(begun, "/cache"));
    match begun["per_second"].as_u64() {
        Some(rate) => format!(
            "invalidation {} of {cache}: {selected} in memory, {rate} of them a second; {} being \
             computed will not be kept",
            number(begun, "/id"),
            number(begun, "/in_flight"),
        ),
        None => format!("{selected} {cache} are forgotten"),
    }
}

/// A warming.
pub(crate) fn warmed(stats: &Value) -> String {
    format!(
        "warming    {} of at most {} results read back, {} passed over, {} events looked at{}",
        number(stats, "/warmed"),
        number(stats, "/runs_max"),
        number(stats, "/passed_over"),
        number(stats, "/events"),
        match stats["ended"].as_bool() {
            Some(true) => "",
            Some(false) | None => "; it goes on",
        },
    )
}

fn verdicts(out: &mut String, of: &Value, indent: &str) {
    for count in list(of, "/verdicts") {
        line(
            out,
            &format!(
                "{indent}{:<13} {:>8}  {:>7}  {}",
                text(count, "/verdict"),
                number(count, "/requests"),
                share(count, "/share"),
                text(count, "/meaning"),
            ),
        );
    }
}

/// Why requests were answered from the cache or not.
pub(crate) fn cacheable(report: &Value) -> String {
    let mut out = String::new();
    line(
        &mut out,
        &format!(
            "{} requests in events {} to {}",
            number(report, "/requests"),
            number(report, "/from_sequence"),
            number(report, "/to_sequence"),
        ),
    );
    verdicts(&mut out, report, "");
    for of in list(report, "/operations") {
        line(
            &mut out,
            &format!(
                "{}: {} requests; {} without a seed since the server began",
                text(of, "/operation"),
                number(of, "/requests"),
                number(of, "/unseeded"),
            ),
        );
        verdicts(&mut out, of, "  ");
    }
    out.trim_end().to_owned()
}

/// Whether one request would be answered from the cache.
pub(crate) fn cacheable_request(found: &Value) -> String {
    let mut out = String::new();
    let word = match found["cacheable"].as_bool() {
        Some(true) => "cacheable",
        Some(false) | None => "not cacheable",
    };
    line(
        &mut out,
        &format!(
            "{} by {} is {word}: {}",
            text(found, "/operation"),
            text(found, "/algorithm"),
            text(found, "/reason"),
        ),
    );
    if let Some(key) = found["key"].as_str() {
        line(&mut out, &format!("key        {key}"));
    }
    for (name, field) in [("memory", "in_memory"), ("disk", "on_disk")] {
        if let Some(held) = found[field].as_bool() {
            let word = if held { "yes" } else { "no" };
            line(&mut out, &format!("in {name:<7} {word}"));
        }
    }
    out.trim_end().to_owned()
}
