//! The answer to a lab request: the same JSON from the server and from the command line. The
//! result is spliced in as it was computed, so that its bytes are the same everywhere.

use std::borrow::Cow;

use hindcast_model::RunId;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// What a computation gave, and how long it took.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answer<'a> {
    /// The run in the log; a computation without a server has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = "uuid", nullable = false)]
    pub run_id: Option<String>,
    /// `completed`; a run that ended otherwise is answered with a problem.
    pub status: &'static str,
    /// Such as `causal.discover`.
    pub operation: String,
    /// The seed of everything random: the one of the request, or the one drawn for it.
    pub seed: u64,
    pub durations: Durations,
    /// The blake3 hash of the bytes of `result`.
    pub result_hash: String,
    /// The algorithm and its version.
    pub algorithm_version: String,
    /// `exact`: what was asked for. `cached`: the result of an equal run, which is exact, while a
    /// circuit breaker let nothing be computed. `approximate`: something else was computed in place
    /// of what a breaker did not let pass.
    #[schema(example = "exact")]
    pub quality: String,
    /// Why it is not simply exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub quality_reason: Option<String>,
    /// What the cache of results had to do with it; a computation without a server has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cache: Option<CacheNote>,
    /// The result, in canonical JSON (RFC 8785). It holds no ids, times or facts of a host.
    #[schema(value_type = Object)]
    pub result: Cow<'a, RawValue>,
}

/// Bytes of an answer beside its result, in most cases.
const FRAME_BYTES: usize = 768;

impl Answer<'_> {
    /// The answer as JSON.
    ///
    /// # Panics
    /// Never: it is plain data.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Vec::with_capacity(self.result.get().len() + FRAME_BYTES);
        serde_json::to_writer(&mut json, self).expect("plain data");
        json
    }
}

/// The quality of an answer to what was asked.
pub const EXACT: &str = "exact";

/// What the cache of results had to do with an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CacheNote {
    /// `hit`: the result is that of an earlier run. `miss`: it was computed, and is kept.
    /// `not_cacheable`: it was computed, and an equal request will be computed again.
    pub status: String,
    /// The run that the result was computed for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = "uuid", nullable = false)]
    pub original: Option<String>,
    /// Why it is not cacheable.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
}

impl CacheNote {
    /// The result of an earlier run.
    #[must_use]
    pub fn hit(original: RunId) -> Self {
        Self {
            status: "hit".to_owned(),
            original: Some(original.to_string()),
            reason: None,
        }
    }

    /// A result of its own. `seeded` is whether the request says everything that it depends on.
    #[must_use]
    pub fn computed(seeded: bool) -> Self {
        let reason = "the search is random and the request names no seed: with `seed` an equal \
                      request has an equal answer";
        Self {
            status: if seeded { "miss" } else { "not_cacheable" }.to_owned(),
            original: None,
            reason: (!seeded).then(|| reason.to_owned()),
        }
    }
}

/// How long a request took, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Durations {
    /// Waiting for a thread.
    pub queued_ms: f64,
    /// Computing.
    pub computed_ms: f64,
    /// From the request to its end.
    pub total_ms: f64,
}

impl Durations {
    /// From microseconds.
    #[must_use]
    pub fn from_micros(queued: u64, computed: u64, total: u64) -> Self {
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Self {
            queued_ms: ms(queued),
            computed_ms: ms(computed),
            total_ms: ms(total),
        }
    }
}

/// A result that goes into an answer as it is.
///
/// # Errors
/// The text is not JSON.
pub fn raw(json: String) -> Result<Box<RawValue>, serde_json::Error> {
    RawValue::from_string(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_spliced_byte_for_byte() {
        let result = r#"{"b":1e-7,"a":[ 1,2.50 ]}"#.to_owned();
        let answer = Answer {
            run_id: None,
            status: "completed",
            operation: "causal.validate".to_owned(),
            seed: 7,
            durations: Durations::from_micros(1_500, 250, 1_750),
            result_hash: "00".to_owned(),
            algorithm_version: "identify/1".to_owned(),
            quality: EXACT.to_owned(),
            quality_reason: None,
            cache: None,
            result: Cow::Owned(raw(result.clone()).expect("JSON")),
        };
        let text = serde_json::to_string(&answer).expect("plain data");
        assert!(text.ends_with(&format!(r#""result":{result}}}"#)), "{text}");
        assert!(text.contains(r#""queued_ms":1.5,"computed_ms":0.25,"total_ms":1.75"#));
        assert!(!text.contains("run_id"));
    }
}
