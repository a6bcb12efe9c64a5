//! Reads what `/metrics` writes: text of version 0.0.4. Lines that are no samples are passed over.

use std::collections::BTreeMap;

/// One row of a family.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

impl Row {
    /// The value of a label; empty when there is none.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        let found = self.labels.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A page of metrics as it was at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape(BTreeMap<String, Vec<Row>>);

impl Scrape {
    /// The rows whose names `keep` says yes to. Buckets of a histogram are rows of `NAME_bucket`.
    #[must_use]
    pub fn parse(text: &str, keep: impl Fn(&str) -> bool) -> Self {
        let mut families: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for line in text.lines() {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            if name.is_empty() || name == "#" || !keep(name) {
                continue;
            }
            let Some((labels, value)) = row(rest) else {
                continue;
            };
            let rows = families.entry(name.to_owned()).or_default();
            rows.push(Row { labels, value });
        }
        Self(families)
    }

    /// The rows of a family, in the order of the page.
    pub fn rows(&self, family: &str) -> impl Iterator<Item = &Row> {
        self.0.get(family).into_iter().flatten()
    }

    /// The sum of the rows that have these labels; none when no row has them.
    #[must_use]
    pub fn sum(&self, family: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |row: &&Row| labels.iter().all(|(name, value)| row.label(name) == *value);
        let found = self.rows(family).filter(has).map(|row| row.value);
        found.reduce(|sum, value| sum + value)
    }
}

/// Labels and value behind a name; a time behind the value is passed over.
fn row(rest: &str) -> Option<(Vec<(String, String)>, f64)> {
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some((labels, value))
}

/// What stands between braces, and what comes behind them.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((found, behind));
        }
        let (name, value) = rest.split_once("=\"")?;
        let (text, behind) = quoted(value)?;
        found.push((name.to_owned(), text));
        rest = behind;
    }
}

/// The text up to the closing quote, and what comes behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}

/// The value below which a share of a histogram's observations lies, from cumulative buckets
/// (upper bound, count), between whose bounds observations are taken as evenly spread. None when
/// there are no observations; the highest bound when it lies above all of them.
#[must_use]
pub fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let total = buckets.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let wanted = share * total;
    let (mut below, mut counted) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= wanted && *count > counted {
            if bound.is_infinite() {
                return Some(below);
            }
            return Some(below + (bound - below) * (wanted - counted) / (count - counted));
        }
        if bound.is_finite() {
            below = *bound;
        }
        counted = *count;
    }
    Some(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_labels_and_values_are_read() {
        let text = "# HELP a_total Some \"text\"\n# TYPE a_total counter\n\
            a_total{path=\"/x\",status=\"200\"} 3\na_total{path=\"/x\",status=\"503\"} 1\n\
            b 1.5e3 1700000000\nc{q=\"a\\\"b\\\\c\\nd}\"} +Inf\nbroken{x=\"y} 1\nd\n";
        let page = Scrape::parse(text, |_| true);
        assert_eq!(page.sum("a_total", &[]), Some(4.0));
        assert_eq!(page.sum("a_total", &[("status", "503")]), Some(1.0));
        assert_eq!(page.sum("a_total", &[("status", "404")]), None);
        assert_eq!(page.sum("b", &[]), Some(1_500.0));
        let row = page.rows("c").next().expect("a row");
        assert_eq!(row.label("q"), "a\"b\\c\nd}");
        assert!(row.value.is_infinite());
        assert_eq!(page.rows("broken").count(), 0);
        let some = Scrape::parse(text, |name| name == "b");
        assert_eq!(some.rows("a_total").count(), 0);
    }

    #[test]
    fn quantiles_lie_between_bounds() {
        let buckets = [
            (0.1, 50.0),
            (0.5, 90.0),
            (1.0, 100.0),
            (f64::INFINITY, 100.0),
        ];
        let near = |share: f64, wanted: f64| {
            let found = quantile(&buckets, share).expect("observations");
            assert!((found - wanted).abs() < 1e-9, "{share}: {found}");
        };
        near(0.25, 0.05);
        near(0.5, 0.1);
        near(0.7, 0.3);
        near(0.95, 0.75);
        near(1.0, 1.0);
        assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(
            quantile(&[(1.0, 0.0), (f64::INFINITY, 9.0)], 0.5),
            Some(1.0)
        );
        assert_eq!(quantile(&[], 0.5), None);
    }
}
