//! The last traces that were slow or failed, in memory, for where there is nothing that collects
//! them. Whether a trace is kept is known when it has ended: all of its spans are there then.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hindcast_actors::trace::{Finished, Span, Value};
use hindcast_actors::views;
use hindcast_model::UnixMicros;
use serde::Serialize;
use utoipa::ToSchema;

/// Bytes that a span takes beside its texts.
const SPAN_BYTES: usize = size_of::<Span>();

/// The traces, oldest first.
#[derive(Debug)]
pub struct Ring {
    traces_max: usize,
    bytes_max: usize,
    slow_micros: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    traces: VecDeque<(Finished, usize)>,
    bytes: usize,
    /// Traces that were kept since the start and had to make room.
    displaced: u64,
}

impl Ring {
    /// A ring of at most so many traces and bytes; a trace is slow from so many milliseconds on.
    #[must_use]
    pub fn new(traces_max: usize, bytes_max: usize, slow_ms: u64) -> Self {
        Self {
            traces_max,
            bytes_max,
            slow_micros: slow_ms.saturating_mul(1_000),
            kept: Mutex::default(),
        }
    }

    /// Whether there is room for any.
    #[must_use]
    pub const fn keeps(&self) -> bool {
        self.traces_max > 0 && self.bytes_max > 0
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the trace if it was slow or failed.
    pub fn offer(&self, trace: Finished) {
        let failed = trace.spans.iter().any(|span| span.error.is_some());
        if !self.keeps() || !(failed || took(&trace) >= self.slow_micros) {
            return;
        }
        let bytes = size(&trace);
        if bytes > self.bytes_max {
            self.kept().displaced += 1;
            return;
        }
        let mut kept = self.kept();
        kept.bytes += bytes;
        kept.traces.push_back((trace, bytes));
        while kept.bytes > self.bytes_max || kept.traces.len() > self.traces_max {
            if let Some((_, bytes)) = kept.traces.pop_front() {
                kept.bytes -= bytes;
                kept.displaced += 1;
            }
        }
    }

    /// The newest ones that took at least so long and, if `failed` says so, failed.
    #[must_use]
    pub fn newest(&self, at_least_ms: u64, failed: bool, limit: usize) -> Traces {
        let kept = self.kept();
        let least = at_least_ms.saturating_mul(1_000);
        let wanted = |trace: &&Finished| {
            let matches = !failed || trace.spans.iter().any(|span| span.error.is_some());
            matches && took(trace) >= least
        };
        let newest = kept.traces.iter().rev().map(|(trace, _)| trace);
        Traces {
            items: newest.filter(wanted).take(limit).map(view).collect(),
            kept: kept.traces.len() as u64,
            kept_bytes: kept.bytes as u64,
            displaced: kept.displaced,
        }
    }
}

/// Microseconds from the first beginning to the last end.
fn took(trace: &Finished) -> u64 {
    let start = trace.spans.iter().map(|span| span.start_micros).min();
    let end = trace.spans.iter().map(|span| span.end_micros).max();
    end.unwrap_or(0).saturating_sub(start.unwrap_or(0))
}

fn size(trace: &Finished) -> usize {
    let text = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Word(_) | Value::Number(_) => 0,
    };
    let spans = trace.spans.iter().map(|span| {
        let texts: usize = span.attributes.iter().map(|(_, value)| text(value)).sum();
        let pairs = span.attributes.capacity() * size_of::<(&str, Value)>();
        SPAN_BYTES + pairs + texts + span.error.as_ref().map_or(0, String::len)
    });
    size_of::<Finished>() + spans.sum::<usize>()
}

/// Traces that were slow or failed, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Traces {
    pub items: Vec<TraceView>,
    /// Traces that are kept, and the memory that they take.
    pub kept: u64,
    pub kept_bytes: u64,
    /// Traces that made room for younger ones since the start.
    pub displaced: u64,
}

/// What one request did here.
#[derive(Debug, Serialize, ToSchema)]
pub struct TraceView {
    /// The correlation id of its events without dashes.
    pub trace_id: String,
    pub at: String,
    pub duration_ms: f64,
    pub failed: bool,
    /// Spans that there was no room for.
    pub spans_dropped: u64,
    /// In the order in which they began.
    pub spans: Vec<SpanView>,
}

/// One piece of work.
#[derive(Debug, Serialize, ToSchema)]
pub struct SpanView {
    pub span_id: String,
    /// The span that it lies below, which may be the caller's.
    pub parent_id: Option<String>,
    pub name: &'static str,
    /// After the beginning of the trace.
    pub offset_ms: f64,
    pub duration_ms: f64,
    pub error: Option<String>,
    #[schema(value_type = Object)]
    pub attributes: serde_json::Map<String, serde_json::Value>,
}

fn view(trace: &Finished) -> TraceView {
    let start = trace.spans.iter().map(|span| span.start_micros).min();
    let start = start.unwrap_or(0);
    let ms = |micros: u64| micros as f64 / 1_000.0;
    let mut spans: Vec<&Span> = trace.spans.iter().collect();
    spans.sort_by_key(|span| (span.start_micros, span.id != trace.root));
    let spans = spans.into_iter().map(|span| SpanView {
        span_id: format!("{:016x}", span.id),
        parent_id: (span.parent != 0).then(|| format!("{:016x}", span.parent)),
        name: span.name,
        offset_ms: ms(span.start_micros - start),
        duration_ms: ms(span.end_micros.saturating_sub(span.start_micros)),
        error: span.error.clone(),
        attributes: span
            .attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json(value)))
            .collect(),
    });
    TraceView {
        trace_id: format!("{:032x}", trace.trace),
        at: views::rfc3339(UnixMicros(start)),
        duration_ms: ms(took(trace)),
        failed: trace.spans.iter().any(|span| span.error.is_some()),
        spans_dropped: trace.dropped,
        spans: spans.collect(),
    }
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Text(text) => text.as_str().into(),
        Value::Word(word) => (*word).into(),
        Value::Number(number) => (*number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(number: u128, took_ms: u64, error: Option<&str>) -> Finished {
        Finished {
            trace: number,
            root: 1,
            sampled: false,
            spans: vec![Span {
                id: 1,
                parent: 0,
                name: "http.request",
                start_micros: 1_000_000,
                end_micros: 1_000_000 + took_ms * 1_000,
                attributes: vec![("path", Value::Text("x".repeat(100)))],
                error: error.map(str::to_owned),
            }],
            dropped: 0,
        }
    }

    #[test]
    fn slow_and_failed_ones_are_kept_and_bounded() {
        let ring = Ring::new(3, 1 << 20, 50);
        for (number, took_ms, error) in [
            (1, 10, None),
            (2, 60, None),
            (3, 1, Some("why")),
            (4, 70, None),
            (5, 80, None),
        ] {
            ring.offer(trace(number, took_ms, error));
        }
        let found = |at_least, failed| {
            let found = ring.newest(at_least, failed, 10).items;
            let ids = found.iter().map(|trace| trace.trace_id.clone());
            let last = ids.map(|id| id.trim_start_matches('0').to_owned());
            last.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(found(0, false), "5 4 3");
        assert_eq!(found(75, false), "5");
        assert_eq!(found(0, true), "3");
        assert_eq!(ring.newest(0, false, 1).displaced, 1);
        assert!(!Ring::new(0, 100, 1).keeps());
    }

    #[test]
    fn bytes_are_bounded_too() {
        let one = size(&trace(1, 1, None));
        let ring = Ring::new(1_000, one * 4, 0);
        for number in 0..100 {
            ring.offer(trace(number, 1, None));
        }
        let kept = ring.newest(0, false, 1_000);
        assert_eq!((kept.kept, kept.displaced), (4, 96));
        assert!(kept.kept_bytes <= one as u64 * 4);
    }
}
