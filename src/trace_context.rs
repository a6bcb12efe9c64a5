//! W3C trace context, version 00: which trace a request belongs to, in and out.
//! <https://www.w3.org/TR/trace-context/>

use std::fmt;
use std::str::FromStr;

use actix_web::http::header::HeaderValue;
use hindcast_model::EventId;

use crate::ids;

/// A place in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    pub trace: u128,
    pub span: u64,
    pub sampled: bool,
}

/// The header is not a trace context that this version can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of version 00")]
pub struct BadTraceContext;

impl TraceContext {
    /// The start of a trace that came with no header.
    #[must_use]
    pub fn fresh() -> Self {
        let trace = u128::from(ids::random()) << 64 | u128::from(ids::random());
        Self {
            trace: trace.max(1),
            span: ids::random().max(1),
            sampled: false,
        }
    }

    /// A new span of the trace in the header, or of a fresh trace when there is none or it is
    /// malformed: the standard tells to go on as if it were absent.
    #[must_use]
    pub fn continued(header: Option<&str>) -> Self {
        match header.map(str::parse::<Self>) {
            Some(Ok(parent)) => Self {
                span: ids::random().max(1),
                ..parent
            },
            Some(Err(BadTraceContext)) | None => Self::fresh(),
        }
    }

    /// The trace as the correlation id of events.
    #[must_use]
    pub const fn correlation(self) -> EventId {
        EventId::from_bytes(self.trace.to_be_bytes())
    }

    /// The header `traceparent`.
    #[must_use]
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text()).expect("hexadecimal digits and dashes")
    }

    fn text(self) -> [u8; 55] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        digits(&mut text[3..35], self.trace);
        digits(&mut text[36..52], u128::from(self.span));
        text[54] += u8::from(self.sampled);
        text
    }

    /// The trace id as thirty-two hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect("ASCII"))
    }
}

impl FromStr for TraceContext {
    type Err = BadTraceContext;

    fn from_str(text: &str) -> Result<Self, BadTraceContext> {
        let bytes = text.as_bytes();
        let dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        // A later version may append fields after another dash; version 00 may not.
        let later = bytes.len() > 55 && bytes[55] == b'-' && !text.starts_with("00");
        if !text.is_ascii() || !dashes || !(bytes.len() == 55 || later) || text.starts_with("ff") {
            return Err(BadTraceContext);
        }
        hexadecimal(&text[..2])?;
        let trace = hexadecimal(&text[3..35])?;
        let span = hexadecimal(&text[36..52])?;
        let flags = hexadecimal(&text[53..55])?;
        if trace == 0 || span == 0 {
            return Err(BadTraceContext);
        }
        Ok(Self {
            trace,
            span: u64::try_from(span).map_err(|_| BadTraceContext)?,
            sampled: flags & 1 == 1,
        })
    }
}

/// Fills `places` with the last hexadecimal digits of a number.
fn digits(places: &mut [u8], number: u128) {
    let mut left = number;
    for place in places.iter_mut().rev() {
        *place = b"0123456789abcdef"[usize::try_from(left & 15).expect("below 16")];
        left >>= 4;
    }
}

fn hexadecimal(digits: &str) -> Result<u128, BadTraceContext> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if !digits.bytes().all(lower) {
        return Err(BadTraceContext);
    }
    u128::from_str_radix(digits, 16).map_err(|_| BadTraceContext)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_standard_is_read_and_written() {
        let parsed: TraceContext = GOOD.parse().expect("good");
        assert_eq!(parsed.to_string(), GOOD);
        assert_eq!(parsed.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let correlation = parsed.correlation().to_string();
        assert_eq!(correlation, "4bf92f35-77b3-4da6-a3ce-929d0e0e4736");
        let next = TraceContext::continued(Some(GOOD));
        assert_eq!((next.trace, next.sampled), (parsed.trace, true));
        assert_ne!(next.span, parsed.span);
    }

    #[test]
    fn what_the_standard_calls_invalid_is_refused() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(BadTraceContext), "{bad}");
            assert_ne!(TraceContext::continued(Some(bad)).trace, 0);
        }
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = GOOD.replacen("00", "cc", 1);
        assert_eq!(later.parse::<TraceContext>(), GOOD.parse());
        assert_eq!(
            format!("{later}-what").parse::<TraceContext>(),
            GOOD.parse()
        );
        assert!(format!("{later}.what").parse::<TraceContext>().is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            if let Ok(parsed) = text.parse::<TraceContext>() {
                prop_assert!(parsed.trace != 0 && parsed.span != 0);
            }
        }

        #[test]
        fn what_is_written_is_read(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let context = TraceContext { trace, span, sampled };
            prop_assert_eq!(context.to_string().parse(), Ok(context));
        }
    }
}
