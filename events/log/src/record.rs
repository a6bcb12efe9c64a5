//! One event as bytes: a fixed header that says everything but the payload, then the payload.
//! Scans, indexes, chains and diffs work on the header alone.
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the whole record |
//! | 4 | 1 | version of this layout: 1 |
//! | 5 | 1 | flags: 1 observed, 2 ignorable |
//! | 6 | 2 | event type |
//! | 8 | 2 | schema of the payload |
//! | 10 | 2 | stream kind |
//! | 12 | 16 | stream id |
//! | 28 | 8 | stream version |
//! | 36 | 16 | event id |
//! | 52 | 16 | causation: the event that led to this one |
//! | 68 | 16 | correlation |
//! | 84 | 16 | principal |
//! | 100 | 16 | tenant |
//! | 116 | 4 | key id, 0 when the payload is readable |
//! | 120 | 8 | time, microseconds since 1970 |
//! | 128 | 4 | length of the payload |
//! | 132 | 4 | crc32c of bytes 0 to 132 and the payload |
//! | 136 | | payload |

use hindcast_model::state::Context;
use hindcast_model::{Event, EventId, KeyId, Kind, Name16, Seq, Stream, StreamKind, UnixMicros};

use crate::codec;
use crate::error::LogError;

/// Bytes before the payload.
pub(crate) const HEADER_BYTES: usize = 136;
const VERSION: u8 = 1;
const OBSERVED: u8 = 1;
const IGNORABLE: u8 = 2;

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    pub context: Context,
    pub causation: EventId,
    pub stream: Stream,
    pub version: u64,
    pub observed: bool,
    pub ignorable: bool,
    pub body: Body,
}

/// The payload, if this version knows its type.
#[expect(
    clippy::large_enum_variant,
    reason = "a type that is not known is the rare case"
)]
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Known(Event),
    Unknown {
        number: u16,
        schema: u16,
        payload: Vec<u8>,
    },
}

impl Recorded {
    /// The event, if its type is known.
    #[must_use]
    pub const fn event(&self) -> Option<&Event> {
        match &self.body {
            Body::Known(event) => Some(event),
            Body::Unknown { .. } => None,
        }
    }

    /// Its position.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.context.seq
    }

    /// The record's bytes, as they stand in the log.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LogError> {
        let (number, schema) = match &self.body {
            Body::Known(event) => (event.kind().number, event.kind().schema),
            Body::Unknown { number, schema, .. } => (*number, *schema),
        };
        let kind = Kind {
            number,
            schema,
            name: "",
            observed: self.observed,
            ignorable: self.ignorable,
        };
        let payload = |into: &mut Vec<u8>| match &self.body {
            Body::Known(event) => codec::encode_event(event, into),
            Body::Unknown { payload, .. } => {
                into.extend_from_slice(payload);
                Ok(())
            }
        };
        let mut bytes = Vec::new();
        let place = (self.stream, self.version);
        encode(
            &self.context,
            self.causation,
            place,
            (kind, payload),
            &mut bytes,
        )?;
        Ok(bytes)
    }
}

/// The header of a record, and where its payload lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) len: usize,
    pub(crate) flags: u8,
    pub(crate) number: u16,
    pub(crate) schema: u16,
    pub(crate) stream: Stream,
    pub(crate) version: u64,
    pub(crate) event_id: EventId,
    pub(crate) causation: EventId,
    pub(crate) correlation: EventId,
    pub(crate) principal: Name16,
    pub(crate) tenant: Name16,
    pub(crate) key: KeyId,
    pub(crate) at: UnixMicros,
}

impl Header {
    /// Whether it came from outside, so that what follows it up to the next such record was decided
    /// from it.
    pub(crate) const fn is_observed(&self) -> bool {
        self.flags & OBSERVED != 0
    }
}

/// Appends a record to `into`; `payload` appends the payload and may fail.
pub(crate) fn encode(
    context: &Context,
    causation: EventId,
    (stream, version): (Stream, u64),
    (kind, payload): (Kind, impl FnOnce(&mut Vec<u8>) -> Result<(), LogError>),
    into: &mut Vec<u8>,
) -> Result<(), LogError> {
    let start = into.len();
    let flags = (u8::from(kind.observed) * OBSERVED) | (u8::from(kind.ignorable) * IGNORABLE);
    let mut header = [0; HEADER_BYTES];
    header[4] = VERSION;
    header[5] = flags;
    header[6..8].copy_from_slice(&kind.number.to_le_bytes());
    header[8..10].copy_from_slice(&kind.schema.to_le_bytes());
    header[10..12].copy_from_slice(&stream.kind.number().to_le_bytes());
    header[12..28].copy_from_slice(&stream.id);
    header[28..36].copy_from_slice(&version.to_le_bytes());
    header[36..52].copy_from_slice(&context.event_id.bytes());
    header[52..68].copy_from_slice(&causation.bytes());
    header[68..84].copy_from_slice(&context.correlation.bytes());
    header[84..100].copy_from_slice(&context.principal.0);
    header[100..116].copy_from_slice(&context.tenant.0);
    header[116..120].copy_from_slice(&context.key.0.to_le_bytes());
    header[120..128].copy_from_slice(&context.at.0.to_le_bytes());
    into.extend_from_slice(&header);
    payload(into)?;
    let record = &mut into[start..];
    let len = u32::try_from(record.len()).map_err(|e| LogError::Codec(e.to_string()))?;
    let payload = len - u32::try_from(HEADER_BYTES).expect("the header is small");
    record[0..4].copy_from_slice(&len.to_le_bytes());
    record[128..132].copy_from_slice(&payload.to_le_bytes());
    let crc = checksum(record);
    record[132..136].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

fn checksum(record: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&record[..132]), &record[HEADER_BYTES..])
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn sixteen(bytes: &[u8], at: usize) -> [u8; 16] {
    bytes[at..at + 16].try_into().expect("sixteen bytes")
}

/// Reads the header at the start of `bytes`. The text says what is wrong.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, String> {
    if bytes.len() < HEADER_BYTES {
        return Err(format!(
            "a record of {} bytes is shorter than its header",
            bytes.len()
        ));
    }
    let (len, payload) = (u32_at(bytes, 0) as usize, u32_at(bytes, 128) as usize);
    if len > bytes.len() || len != HEADER_BYTES + payload {
        return Err(format!(
            "a record says it has {len} bytes with {payload} of payload"
        ));
    }
    if bytes[4] != VERSION {
        return Err(format!("record layout {} is not known", bytes[4]));
    }
    let kind = u16_at(bytes, 10);
    let Some(kind) = StreamKind::from_number(kind) else {
        return Err(format!("stream kind {kind} is not known"));
    };
    Ok(Header {
        len,
        flags: bytes[5],
        number: u16_at(bytes, 6),
        schema: u16_at(bytes, 8),
        stream: Stream {
            kind,
            id: sixteen(bytes, 12),
        },
        version: u64_at(bytes, 28),
        event_id: EventId::from_bytes(sixteen(bytes, 36)),
        causation: EventId::from_bytes(sixteen(bytes, 52)),
        correlation: EventId::from_bytes(sixteen(bytes, 68)),
        principal: Name16(sixteen(bytes, 84)),
        tenant: Name16(sixteen(bytes, 100)),
        key: KeyId(u32_at(bytes, 116)),
        at: UnixMicros(u64_at(bytes, 120)),
    })
}

/// Whether the record's checksum holds; `header` has read it before.
pub(crate) fn intact(record: &[u8]) -> bool {
    checksum(record) == u32_at(record, 132)
}

/// Reads one whole record.
pub(crate) fn decode(record: &[u8], header: &Header, seq: Seq) -> Result<Recorded, String> {
    let payload = &record[HEADER_BYTES..header.len];
    let body = match codec::decode_event(header.number, header.schema, payload) {
        Ok(Ok(event)) => Body::Known(event),
        Ok(Err(error)) => return Err(error.to_string()),
        Err(unknown) => Body::Unknown {
            number: unknown.number,
            schema: unknown.schema,
            payload: payload.to_vec(),
        },
    };
    Ok(Recorded {
        context: Context {
            seq,
            at: header.at,
            event_id: header.event_id,
            correlation: header.correlation,
            principal: header.principal,
            tenant: header.tenant,
            key: header.key,
        },
        causation: header.causation,
        stream: header.stream,
        version: header.version,
        observed: header.is_observed(),
        ignorable: header.flags & IGNORABLE != 0,
        body,
    })
}

/// The records in `bytes`, the first at `first`: sequence, header and bytes of each.
pub(crate) struct Records<'a> {
    rest: &'a [u8],
    next: Seq,
}

impl<'a> Records<'a> {
    pub(crate) const fn new(bytes: &'a [u8], first: Seq) -> Self {
        Self {
            rest: bytes,
            next: first,
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(Seq, Header, &'a [u8]), (Seq, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let seq = self.next;
        self.next = seq.next();
        match header(self.rest) {
            Ok(header) => {
                let (record, rest) = self.rest.split_at(header.len);
                self.rest = rest;
                Some(Ok((seq, header, record)))
            }
            Err(what) => {
                self.rest = &[];
                Some(Err((seq, what)))
            }
        }
    }
}
