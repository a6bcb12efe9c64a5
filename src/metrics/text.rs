//! Metrics as text: the format 0.0.4 of Prometheus, and OpenMetrics 1.0, which names traces beside
//! buckets. <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics_exporter_prometheus::formatting;

use super::aliases::{ALIASES, Alias};
use super::cells::{Exemplar, HistogramCell};
use super::recorder::{Cell, Families, Family, Kind, Recorder, text_of};

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// The value of `Content-Type`.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// What a client that accepts this would rather have; the older format if it does not care.
    #[must_use]
    pub fn preferred(accept: &str) -> Self {
        let quality = |wanted: &str| {
            let offers = accept.split(',').filter_map(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                let kind = parts.next()?;
                let weight = parts.find_map(|part| part.strip_prefix("q="));
                kind.eq_ignore_ascii_case(wanted)
                    .then(|| weight.map_or(Some(1.0), |text| text.parse::<f64>().ok()))?
            });
            offers.fold(0.0, f64::max)
        };
        let open = quality("application/openmetrics-text");
        let text = quality("text/plain").max(quality("text/*"));
        match open > 0.0 && open >= text {
            true => Self::OpenMetrics,
            false => Self::Text,
        }
    }
}

/// The families for whose names `keep` says yes, and their aliases.
#[must_use]
pub fn render(recorder: &Recorder, format: Format, keep: impl Fn(&str) -> bool) -> String {
    /// So that a text is written into memory of the right size.
    static LENGTH: AtomicUsize = AtomicUsize::new(16_384);
    let mut page = Page {
        out: String::with_capacity(LENGTH.load(Ordering::Relaxed)),
        format,
    };
    let families = recorder.families();
    for (name, family) in families.iter().filter(|(name, _)| keep(name)) {
        page.family(name, &family.help, family, None);
    }
    for alias in ALIASES.iter().filter(|alias| keep(alias.name)) {
        page.alias(alias, &families);
    }
    drop(families);
    if format == Format::OpenMetrics {
        page.out.push_str("# EOF\n");
    }
    let length = page.out.len() + page.out.len() / 8;
    LENGTH.fetch_max(length, Ordering::Relaxed);
    page.out
}

struct Page {
    out: String,
    format: Format,
}

impl Page {
    fn alias(&mut self, alias: &Alias, families: &Families) {
        let taken = families.get(alias.name);
        if taken.is_some_and(|family| family.series().next().is_some()) {
            return;
        }
        if let Some(family) = families.get(alias.of) {
            let help = format!("As {}: {}", alias.of, family.help);
            self.family(alias.name, &help, family, Some(alias));
        }
    }

    fn family(&mut self, name: &str, help: &str, family: &Family, alias: Option<&Alias>) {
        let mut rows = family.series().peekable();
        if rows.peek().is_none() {
            return;
        }
        self.head(name, help, family.kind);
        let bounds = match family.kind {
            Kind::Histogram => self.bounds(name),
            Kind::Counter | Kind::Gauge => Vec::new(),
        };
        for (labels, series) in rows {
            let renamed = alias.and_then(|alias| alias.rename);
            let renamed = renamed.map(|(ours, theirs)| renamed_text(labels, ours, theirs));
            let shown = renamed.as_deref().unwrap_or(&series.shown);
            match &series.cell {
                Cell::Counter(cell) => {
                    self.start(name, "", shown, "");
                    self.whole(cell.value());
                }
                Cell::Gauge(cell) => {
                    let value = alias.map_or(cell.value(), |alias| (alias.value)(cell.value()));
                    self.start(name, "", shown, "");
                    self.number(value);
                }
                Cell::Histogram(cell) => self.histogram(name, shown, cell, &bounds),
            }
        }
    }

    /// Totals of seconds are kept as gauges, since counters hold whole things; and a counter
    /// under a name of others may lack the suffix.
    fn head(&mut self, name: &str, help: &str, kind: Kind) {
        let total = name.strip_suffix("_total");
        let word = match kind {
            Kind::Histogram => "histogram",
            Kind::Counter | Kind::Gauge if total.is_some() => "counter",
            Kind::Counter | Kind::Gauge => "gauge",
        };
        let shown = match (self.format, total) {
            (Format::OpenMetrics, Some(total)) if kind != Kind::Histogram => total,
            (Format::OpenMetrics | Format::Text, _) => name,
        };
        formatting::write_help_line(&mut self.out, shown, None, None, help);
        formatting::write_type_line(&mut self.out, shown, None, None, word);
        if self.format == Format::OpenMetrics {
            let units = ["seconds", "bytes", "ratio"];
            let has = |unit: &&&str| shown.strip_suffix(**unit).is_some_and(|s| s.ends_with('_'));
            if let Some(unit) = units.iter().find(has) {
                let _ = writeln!(self.out, "# UNIT {shown} {unit}");
            }
        }
    }

    /// The labels `le` of a family's buckets, written once for all of its series.
    fn bounds(&self, name: &str) -> Vec<String> {
        let whole = match self.format {
            Format::Text => "",
            Format::OpenMetrics => ".0",
        };
        let bounds = super::buckets::of(name_of_values(name))
            .iter()
            .map(|bound| {
                let whole = if bound.fract() == 0.0 { whole } else { "" };
                format!("le=\"{bound}{whole}\"")
            });
        bounds.chain(["le=\"+Inf\"".to_owned()]).collect()
    }

    fn histogram(&mut self, name: &str, shown: &str, cell: &HistogramCell, bounds: &[String]) {
        debug_assert_eq!(bounds.len(), cell.bounds().len() + 1);
        let mut below = 0;
        for (bucket, (count, bound)) in cell.counts().zip(bounds).enumerate() {
            below += count;
            self.start(name, "_bucket", shown, bound);
            let exemplar = match self.format {
                Format::OpenMetrics => cell.exemplar(bucket),
                Format::Text => None,
            };
            match exemplar {
                None => self.whole(below),
                Some(exemplar) => self.traced(below, exemplar),
            }
        }
        self.start(name, "_sum", shown, "");
        self.number(cell.sum());
        self.start(name, "_count", shown, "");
        self.whole(below);
    }

    /// Everything of a line but its value.
    fn start(&mut self, name: &str, suffix: &str, shown: &str, bound: &str) {
        let out = &mut self.out;
        out.push_str(name);
        out.push_str(suffix);
        if !(shown.is_empty() && bound.is_empty()) {
            out.push('{');
            out.push_str(shown);
            if !(shown.is_empty() || bound.is_empty()) {
                out.push(',');
            }
            out.push_str(bound);
            out.push('}');
        }
        out.push(' ');
    }

    fn whole(&mut self, value: u64) {
        let _ = writeln!(self.out, "{value}");
    }

    fn number(&mut self, value: f64) {
        number(&mut self.out, value);
        self.out.push('\n');
    }

    fn traced(&mut self, count: u64, exemplar: Exemplar) {
        let Exemplar {
            trace,
            value,
            at_ms,
        } = exemplar;
        let _ = write!(self.out, "{count} # {{trace_id=\"{trace:032x}\"}} ");
        number(&mut self.out, value);
        let _ = writeln!(self.out, " {}.{:03}", at_ms / 1_000, at_ms % 1_000);
    }
}

/// The family whose buckets an alias shows.
fn name_of_values(name: &str) -> &str {
    let alias = ALIASES.iter().find(|alias| alias.name == name);
    alias.map_or(name, |alias| alias.of)
}

fn renamed_text(labels: &[(String, String)], ours: &str, theirs: &str) -> String {
    let renamed = labels.iter().map(|(name, value)| {
        let name = if name == ours { theirs } else { name };
        (name.to_owned(), value.clone())
    });
    text_of(&renamed.collect::<Vec<_>>())
}

/// A number as both formats spell it.
fn number(out: &mut String, value: f64) {
    let written = if value.is_nan() {
        out.push_str("NaN");
        Ok(())
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        Ok(())
    } else if value.fract() == 0.0 && value.abs() < 1e15 {
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^53")]
        let whole = value as i64;
        write!(out, "{whole}")
    } else {
        write!(out, "{value:?}")
    };
    written.expect("text has room");
}

#[cfg(test)]
mod tests {
    use hindcast_actors::exemplar;
    use metrics::{counter, describe_gauge, gauge, histogram, with_local_recorder};

    use super::*;

    fn sample() -> Recorder {
        let recorder = Recorder::default();
        with_local_recorder(&recorder, || {
            describe_gauge!("b", "Some \\ text");
            gauge!("b").set(f64::NAN);
            gauge!("c_seconds_total", "q" => "a\"b\\c\nd").set(1.5);
            counter!("component_restarts_total", "actor" => "x").increment(3);
            exemplar::within(0xabc, || {
                let histogram = histogram!("causal_computation_duration_seconds", "kind" => "k");
                histogram.record(0.7);
                histogram.record(100.0);
            });
        });
        recorder
    }

    fn assert_lines(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|found| found == *line), "{line}\n{text}");
        }
    }

    #[test]
    fn the_older_format() {
        let text = render(&sample(), Format::Text, |_| true);
        assert_lines(
            &text,
            &[
                "# HELP b Some \\\\ text",
                "# TYPE b gauge",
                "b NaN",
                "# TYPE c_seconds_total counter",
                "c_seconds_total{q=\"a\\\"b\\\\c\\nd\"} 1.5",
                "component_restarts_total{actor=\"x\"} 3",
                "# TYPE container_restarts gauge",
                "container_restarts{actor=\"x\"} 3",
                "causal_computation_duration_seconds_bucket{kind=\"k\",le=\"0.5\"} 0",
                "causal_computation_duration_seconds_bucket{kind=\"k\",le=\"1\"} 1",
                "causal_computation_duration_seconds_bucket{kind=\"k\",le=\"+Inf\"} 2",
                "causal_computation_duration_seconds_sum{kind=\"k\"} 100.7",
                "causal_computation_duration_seconds_count{kind=\"k\"} 2",
                "model_inference_duration_seconds_bucket{model=\"k\",le=\"1\"} 1",
            ],
        );
        assert!(
            !text.contains("EOF") && !text.contains("trace_id"),
            "{text}"
        );
    }

    #[test]
    fn open_metrics() {
        let text = render(&sample(), Format::OpenMetrics, |_| true);
        assert_lines(
            &text,
            &[
                "# TYPE c_seconds counter",
                "# UNIT c_seconds seconds",
                "# TYPE component_restarts counter",
                "component_restarts_total{actor=\"x\"} 3",
            ],
        );
        let start = "causal_computation_duration_seconds_bucket{kind=\"k\",le=\"1.0\"} 1 # \
                     {trace_id=\"00000000000000000000000000000abc\"} 0.7 ";
        assert!(text.lines().any(|line| line.starts_with(start)), "{text}");
        assert!(text.ends_with("\n# EOF\n"));
    }

    #[test]
    fn a_family_of_the_name_of_an_alias_is_shown_and_the_alias_is_not() {
        let recorder = sample();
        with_local_recorder(&recorder, || gauge!("container_restarts").set(9.0));
        let text = render(&recorder, Format::Text, |_| true);
        assert_lines(&text, &["container_restarts 9"]);
        assert_eq!(text.matches("\ncontainer_restarts").count(), 1);
    }

    #[test]
    fn some_families_only() {
        let text = render(&sample(), Format::Text, |name| name.starts_with("model_"));
        assert!(text.starts_with("# HELP model_inference_duration_seconds "));
        assert!(!text.contains("container_restarts"));
    }

    #[test]
    fn the_format_is_the_one_that_is_preferred() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::preferred(prometheus), Format::OpenMetrics);
        for other in [
            "",
            "*/*",
            "text/plain",
            "text/plain, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
        ] {
            assert_eq!(Format::preferred(other), Format::Text, "{other}");
        }
    }
}
