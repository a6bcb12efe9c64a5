//! Traces, log lines and metrics as the messages that OTLP defines.

use hindcast_actors::trace::{Finished, Span as TraceSpan, Value};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use serde_json::Map;
use tracing::Level;

use crate::metrics::cells::HistogramCell;
use crate::metrics::recorder::{Cell, Family, Kind, Recorder};

/// One line of the log.
#[derive(Debug)]
pub(super) struct LogLine {
    pub(super) at_micros: u64,
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) message: String,
    pub(super) place: Option<(u128, u64)>,
    pub(super) fields: Map<String, serde_json::Value>,
}

impl LogLine {
    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let fields = self.fields.iter();
        let fields =
            fields.map(|(name, value)| name.len() + value.as_str().map_or(8, str::len) + 96);
        size_of::<Self>() + self.message.len() + fields.sum::<usize>()
    }
}

/// About how much memory a trace takes.
pub(super) fn trace_bytes(trace: &Finished) -> usize {
    let text = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Word(_) | Value::Number(_) => 0,
    };
    let spans = trace.spans.iter().map(|span| {
        let attributes = span.attributes.iter();
        let attributes: usize = attributes.map(|(_, value)| 48 + text(value)).sum();
        size_of::<TraceSpan>() + attributes + span.error.as_ref().map_or(0, String::len)
    });
    size_of::<Finished>() + spans.sum::<usize>()
}

/// Attributes of this process.
pub(super) fn resource(attributes: &[(String, String)]) -> Resource {
    let attributes = attributes.iter();
    let attributes = attributes.map(|(key, value)| pair(key, Any::StringValue(value.clone())));
    Resource {
        attributes: attributes.collect(),
        ..Resource::default()
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "hindcast".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn pair(key: &str, value: Any) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}

fn whole(number: u64) -> Any {
    Any::IntValue(i64::try_from(number).unwrap_or(i64::MAX))
}

pub(super) fn traces(resource: Resource, traces: &[Finished]) -> ExportTraceServiceRequest {
    let spans = traces
        .iter()
        .flat_map(|trace| trace.spans.iter().map(|span| self::span(trace, span)));
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans: spans.collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    }
}

fn span(trace: &Finished, span: &TraceSpan) -> Span {
    let kind = match span.id == trace.root {
        true => SpanKind::Server,
        false => SpanKind::Internal,
    };
    let attributes = span.attributes.iter().map(|(key, value)| {
        let value = match value {
            Value::Text(text) => Any::StringValue(text.clone()),
            Value::Word(word) => Any::StringValue((*word).to_owned()),
            Value::Number(number) => whole(*number),
        };
        pair(key, value)
    });
    let parent = match span.parent {
        0 => Vec::new(),
        parent => parent.to_be_bytes().to_vec(),
    };
    Span {
        trace_id: trace.trace.to_be_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: parent,
        name: span.name.to_owned(),
        kind: kind.into(),
        start_time_unix_nano: span.start_micros.saturating_mul(1_000),
        end_time_unix_nano: span.end_micros.saturating_mul(1_000),
        attributes: attributes.collect(),
        status: span.error.as_ref().map(|error| Status {
            message: error.clone(),
            code: StatusCode::Error.into(),
        }),
        ..Span::default()
    }
}

pub(super) fn logs(resource: Resource, lines: Vec<LogLine>) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: lines.into_iter().map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

fn record(line: LogLine) -> LogRecord {
    let (number, text) = match line.level {
        Level::TRACE => (1, "TRACE"),
        Level::DEBUG => (5, "DEBUG"),
        Level::INFO => (9, "INFO"),
        Level::WARN => (13, "WARN"),
        Level::ERROR => (17, "ERROR"),
    };
    let mut attributes = vec![pair(
        "code.namespace",
        Any::StringValue(line.target.to_owned()),
    )];
    attributes.extend(line.fields.into_iter().map(|(key, value)| {
        let value = match value {
            serde_json::Value::String(text) => Any::StringValue(text),
            serde_json::Value::Bool(yes) => Any::BoolValue(yes),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Any::IntValue(whole),
                (None, Some(real)) => Any::DoubleValue(real),
                (None, None) => Any::StringValue(number.to_string()),
            },
            other @ (serde_json::Value::Null
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_)) => Any::StringValue(other.to_string()),
        };
        pair(&key, value)
    }));
    let nanos = line.at_micros.saturating_mul(1_000);
    let (trace_id, span_id) = match line.place {
        Some((trace, span)) => (trace.to_be_bytes().to_vec(), span.to_be_bytes().to_vec()),
        None => (Vec::new(), Vec::new()),
    };
    LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number: number,
        severity_text: text.to_owned(),
        body: Some(AnyValue {
            value: Some(Any::StringValue(line.message)),
        }),
        attributes,
        trace_id,
        span_id,
        ..LogRecord::default()
    }
}

/// Everything that is measured, as it stands. Counters and histograms count since the start.
pub(super) fn metrics(
    resource: Resource,
    recorder: &Recorder,
    (start, now): (u64, u64),
) -> ExportMetricsServiceRequest {
    let times = (start.saturating_mul(1_000), now.saturating_mul(1_000));
    let families = recorder.families();
    let metrics = families
        .iter()
        .filter(|(_, family)| family.series().next().is_some())
        .map(|(name, family)| metric(name, family, times));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: metrics.collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn metric(name: &str, family: &Family, times: (u64, u64)) -> Metric {
    let total = name.ends_with("_total");
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || {
        let points = family.series().map(|(labels, series)| {
            let value = match &series.cell {
                Cell::Counter(cell) => {
                    let value = i64::try_from(cell.value()).unwrap_or(i64::MAX);
                    number_data_point::Value::AsInt(value)
                }
                cell @ (Cell::Gauge(_) | Cell::Histogram(_)) => {
                    number_data_point::Value::AsDouble(cell.value())
                }
            };
            NumberDataPoint {
                attributes: attributes(labels, &series.shown),
                start_time_unix_nano: if total { times.0 } else { 0 },
                time_unix_nano: times.1,
                value: Some(value),
                ..NumberDataPoint::default()
            }
        });
        points.collect()
    };
    let data = match family.kind {
        Kind::Histogram => {
            let points = family.series().filter_map(|(labels, series)| {
                let Cell::Histogram(cell) = &series.cell else {
                    return None;
                };
                Some(histogram(attributes(labels, &series.shown), cell, times))
            });
            metric::Data::Histogram(Histogram {
                data_points: points.collect(),
                aggregation_temporality: cumulative,
            })
        }
        Kind::Counter | Kind::Gauge if total => metric::Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Counter | Kind::Gauge => metric::Data::Gauge(Gauge {
            data_points: numbers(),
        }),
    };
    let unit = |suffix: &str| name.trim_end_matches("_total").ends_with(suffix);
    Metric {
        name: name.to_owned(),
        description: family.help.clone(),
        unit: match name {
            _ if unit("_seconds") => "s".to_owned(),
            _ if unit("_bytes") => "By".to_owned(),
            _ => String::new(),
        },
        data: Some(data),
        ..Metric::default()
    }
}

/// The series that takes what there is no room for has no labels of its own.
fn attributes(labels: &[(String, String)], shown: &str) -> Vec<KeyValue> {
    if labels.is_empty() && !shown.is_empty() {
        return vec![pair("overflow", Any::BoolValue(true))];
    }
    let labels = labels.iter();
    let labels = labels.map(|(key, value)| pair(key, Any::StringValue(value.clone())));
    labels.collect()
}

fn histogram(
    attributes: Vec<KeyValue>,
    cell: &HistogramCell,
    (start, now): (u64, u64),
) -> HistogramDataPoint {
    let counts: Vec<u64> = cell.counts().collect();
    let exemplars = (0..counts.len()).filter_map(|bucket| cell.exemplar(bucket));
    let exemplars = exemplars.map(|kept| Exemplar {
        time_unix_nano: kept.at_ms.saturating_mul(1_000_000),
        trace_id: kept.trace.to_be_bytes().to_vec(),
        value: Some(exemplar::Value::AsDouble(kept.value)),
        ..Exemplar::default()
    });
    HistogramDataPoint {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: counts.iter().sum(),
        sum: Some(cell.sum()),
        bucket_counts: counts,
        explicit_bounds: cell.bounds().to_vec(),
        exemplars: exemplars.collect(),
        ..HistogramDataPoint::default()
    }
}
