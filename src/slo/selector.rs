//! Which recorded series a selector such as `http_requests_total{class!="5xx"}` stands for.
//!
//! A name alone stands for the series that has no labels, or for all of its name. A matcher holds
//! where the label is there. The buckets of a histogram are cumulative, as in Prometheus: `le="2"`
//! stands for every bucket up to 2 seconds, and `_count` for all of them.

use std::collections::BTreeSet;

use hindcast_model::limits::SLO_SERIES_MAX;
use hindcast_model::samples::{numbers as all_numbers, series};

/// A label, whether it has to be equal or other, and the value.
type Matcher<'t> = (&'t str, bool, &'t str);

/// The numbers of the series that any of the selectors stands for, rising.
pub(super) fn numbers(selectors: &[String]) -> Result<Vec<u16>, String> {
    let mut found = BTreeSet::new();
    for selector in selectors {
        found.extend(one(selector)?);
    }
    match found.len() {
        0 => Err("there is no selector".to_owned()),
        many if many > SLO_SERIES_MAX => Err(format!(
            "{many} series are over the limit of {SLO_SERIES_MAX}"
        )),
        _ => Ok(found.into_iter().collect()),
    }
}

fn one(selector: &str) -> Result<Vec<u16>, String> {
    let (name, matchers) = parsed(selector)?;
    let names = all_numbers().map(|number| (number, series(number).0));
    if let Some(family) = name.strip_suffix("_count") {
        let bucket = format!("{family}_bucket");
        let found = buckets(&bucket, &matchers, f64::INFINITY);
        return some(found, selector);
    }
    if name.ends_with("_bucket") {
        let bound = matchers.iter().find(|(label, ..)| *label == "le");
        let Some((_, true, bound)) = bound else {
            let count = name.replace("_bucket", "_count");
            return Err(format!(
                "`{selector}` needs le=\"SECONDS\", one of the bounds; {count} stands for all"
            ));
        };
        let known = |(_, label): &(u16, String)| {
            let labels = labels(label);
            label.starts_with(&format!("{name}{{")) && labels.contains(&("le", *bound))
        };
        if !all_numbers()
            .map(|it| (it, series(it).0))
            .any(|it| known(&it))
        {
            return Err(format!(
                "`{selector}`: there is no bucket with le=\"{bound}\""
            ));
        }
        let others: Vec<Matcher<'_>> = matchers.iter().copied().filter(|it| it.0 != "le").collect();
        return some(buckets(name, &others, seconds(bound)), selector);
    }
    if matchers.is_empty() {
        let exact = all_numbers().find(|number| series(*number).0 == name);
        if let Some(exact) = exact {
            return Ok(vec![exact]);
        }
    }
    let fits = |text: &str| text.split('{').next() == Some(name) && matched(text, &matchers);
    some(
        names
            .filter(|(_, text)| fits(text))
            .map(|(it, _)| it)
            .collect(),
        selector,
    )
}

fn some(found: Vec<u16>, selector: &str) -> Result<Vec<u16>, String> {
    match found.is_empty() {
        true => Err(format!(
            "`{selector}` stands for no recorded series; docs/operations.md lists them"
        )),
        false => Ok(found),
    }
}

/// The buckets of a histogram up to a bound.
fn buckets(name: &str, matchers: &[Matcher<'_>], most: f64) -> Vec<u16> {
    let fits = |text: &str| {
        let bound = labels(text).into_iter().find(|(label, _)| *label == "le");
        let within = bound.is_some_and(|(_, bound)| seconds(bound) <= most);
        text.split('{').next() == Some(name) && within && matched(text, matchers)
    };
    all_numbers()
        .filter(|number| fits(&series(*number).0))
        .collect()
}

fn seconds(bound: &str) -> f64 {
    bound.parse().unwrap_or(f64::INFINITY)
}

/// The labels of a series as it is named.
fn labels(text: &str) -> Vec<(&str, &str)> {
    let inner = text.split_once('{').map_or("", |(_, inner)| inner);
    let pairs = inner.trim_end_matches('}').split(',');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(label, value)| (label, value.trim_matches('"')))
        .collect()
}

fn matched(text: &str, matchers: &[Matcher<'_>]) -> bool {
    let labels = labels(text);
    matchers.iter().all(|(label, equal, wanted)| {
        let found = labels.iter().find(|(known, _)| known == label);
        found.is_some_and(|(_, value)| (value == wanted) == *equal)
    })
}

fn parsed(selector: &str) -> Result<(&str, Vec<Matcher<'_>>), String> {
    let wrong = || format!("`{selector}` is not NAME or NAME{{label=\"value\",label!=\"value\"}}");
    let (name, rest) = match selector.split_once('{') {
        None => (selector, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}').ok_or_else(wrong)?),
    };
    let name = name.trim();
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    if !word(name) {
        return Err(wrong());
    }
    let mut matchers = Vec::new();
    for part in rest
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (label, equal, value) = match (part.split_once("!="), part.split_once('=')) {
            (Some((label, value)), _) => (label, false, value),
            (None, Some((label, value))) => (label, true, value),
            (None, None) => return Err(wrong()),
        };
        let quoted = value.trim().strip_prefix('"');
        let value = quoted.and_then(|value| value.strip_suffix('"'));
        match value.filter(|value| word(label.trim()) && !value.contains('"')) {
            Some(value) => matchers.push((label.trim(), equal, value)),
            None => return Err(wrong()),
        }
    }
    Ok((name, matchers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(selector: &str) -> Vec<u16> {
        numbers(&[selector.to_owned()]).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(selector: &str) -> String {
        numbers(&[selector.to_owned()]).expect_err(selector)
    }

    #[test]
    fn selectors_stand_for_series() {
        assert_eq!(found("http_requests_total"), [1, 2, 3, 4]);
        assert_eq!(found("http_requests_total{class!=\"5xx\"}"), [1, 2, 3]);
        assert_eq!(
            found("cache_requests_total{cache=\"results\", result=\"hit\"}"),
            [16]
        );
        // The sum over all modes and the idle one are two series; the name alone is the sum.
        assert_eq!(found("node_cpu_seconds_total"), [23]);
        assert_eq!(found("node_cpu_seconds_total{mode=\"idle\"}"), [24]);
        assert_eq!(
            found("http_request_duration_seconds_sum{route=\"lab\"}"),
            [118]
        );
    }

    #[test]
    fn buckets_are_cumulative() {
        let lab = "http_request_duration_seconds_bucket{route=\"lab\",le=\"0.001\"}";
        assert_eq!(found(lab), [100, 101]);
        let all: Vec<u16> = (160..178).collect();
        assert_eq!(found("causal_computation_duration_seconds_count"), all);
        assert_eq!(
            found("causal_computation_duration_seconds_bucket{le=\"+Inf\"}"),
            all
        );
        let other = found("http_request_duration_seconds_count{route!=\"other\"}");
        assert_eq!((other.len(), other[0], other[35]), (36, 100, 137));
    }

    #[test]
    fn every_series_stands_in_the_document() {
        let document = include_str!("../../docs/operations.md");
        for number in all_numbers() {
            let name = series(number).0;
            let family = name.split('{').next().expect("a name");
            let family = family.strip_suffix("_sum").unwrap_or(family);
            assert!(document.contains(&format!("`{family}")), "{family}");
            for (_, value) in labels(&name).iter().filter(|(label, _)| *label != "le") {
                assert!(document.contains(&format!("`{value}`")), "{name}");
            }
        }
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for (selector, part) in [
            ("nothing_total", "no recorded series"),
            ("http_requests_total{class=\"9xx\"}", "no recorded series"),
            (
                "node_cpu_seconds_total{mode!=\"idle\"}",
                "no recorded series",
            ),
            (
                "http_request_duration_seconds_bucket{route=\"lab\"}",
                "needs le",
            ),
            (
                "http_request_duration_seconds_bucket{le=\"7\"}",
                "no bucket",
            ),
            ("http_requests_total{class=5xx}", "is not NAME"),
            ("http_requests_total{class=\"5xx\"", "is not NAME"),
            ("rate(http_requests_total[5m])", "is not NAME"),
            ("", "is not NAME"),
        ] {
            let message = refused(selector);
            assert!(message.contains(part), "{selector}: {message}");
        }
        assert!(numbers(&[]).is_err());
    }
}
