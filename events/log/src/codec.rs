//! The only user of bincode: little-endian, fixed-size integers, with a limit. The bytes are
//! those of bincode 1.3's default, so that other decoders can take over.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

use hindcast_model::limits::EVENT_BYTES_MAX;
use hindcast_model::{Codec, Event, State, UnknownSchema};

use crate::error::LogError;

const EVENT: Configuration<LittleEndian, Fixint, Limit<EVENT_BYTES_MAX>> =
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<EVENT_BYTES_MAX>();

const STATE: Configuration<LittleEndian, Fixint> = bincode::config::standard()
    .with_little_endian()
    .with_fixed_int_encoding();

struct Writer<'a>(&'a mut Vec<u8>);

impl Codec for Writer<'_> {
    type Error = LogError;

    fn encode<T: Serialize>(&mut self, payload: &T) -> Result<(), LogError> {
        let config = bincode::config::standard()
            .with_little_endian()
            .with_fixed_int_encoding();
        bincode::serde::encode_into_std_write(payload, self.0, config)
            .map(|_| ())
            .map_err(|error| LogError::Codec(error.to_string()))
    }

    fn decode<T: DeserializeOwned>(&mut self) -> Result<T, LogError> {
        Err(LogError::Codec("this side only writes".to_owned()))
    }
}

struct Reader<'a>(&'a [u8]);

impl Codec for Reader<'_> {
    type Error = LogError;

    fn encode<T: Serialize>(&mut self, _payload: &T) -> Result<(), LogError> {
        Err(LogError::Codec("this side only reads".to_owned()))
    }

    fn decode<T: DeserializeOwned>(&mut self) -> Result<T, LogError> {
        let (payload, read) = bincode::serde::decode_from_slice(self.0, EVENT)
            .map_err(|error| LogError::Codec(error.to_string()))?;
        if read != self.0.len() {
            let rest = self.0.len() - read;
            return Err(LogError::Codec(format!("{rest} bytes follow the payload")));
        }
        Ok(payload)
    }
}

/// Appends the payload of `event`.
pub(crate) fn encode_event(event: &Event, into: &mut Vec<u8>) -> Result<(), LogError> {
    event.encode(&mut Writer(into))
}

/// Reads the payload of the kind and schema that a record's header names.
pub(crate) fn decode_event(
    number: u16,
    schema: u16,
    payload: &[u8],
) -> Result<Result<Event, LogError>, UnknownSchema> {
    Event::decode(number, schema, &mut Reader(payload))
}

/// The state's bytes: equal states give equal bytes. Breakers stand behind the rest, objectives
/// behind them, and the runs with deadlines of their callers last, each only when there are any of it or of what follows.
pub fn encode_state(state: &State) -> Result<Vec<u8>, LogError> {
    let failed = |error: bincode::error::EncodeError| LogError::Codec(error.to_string());
    let mut bytes = bincode::serde::encode_to_vec(state, STATE).map_err(failed)?;
    let (slos, callers) = (state.slos(), state.caller_deadlines());
    let objectives = !slos.is_empty() || !callers.is_empty();
    if !state.breakers().is_empty() || objectives {
        bytes.extend(bincode::serde::encode_to_vec(state.breakers(), STATE).map_err(failed)?);
    }
    if objectives {
        bytes.extend(bincode::serde::encode_to_vec(slos, STATE).map_err(failed)?);
    }
    if !callers.is_empty() {
        bytes.extend(bincode::serde::encode_to_vec(callers, STATE).map_err(failed)?);
    }
    Ok(bytes)
}

/// Reads what `encode_state` wrote.
pub fn decode_state(bytes: &[u8]) -> Result<State, LogError> {
    let (state, mut rest): (State, _) = part(bytes)?;
    let (mut breakers, mut slos, mut callers) = Default::default();
    if !rest.is_empty() {
        (breakers, rest) = part(rest)?;
    }
    if !rest.is_empty() {
        (slos, rest) = part(rest)?;
    }
    if !rest.is_empty() {
        (callers, rest) = part(rest)?;
    }
    let state = state.with_breakers(breakers).with_slos(slos);
    match rest.is_empty() {
        true => Ok(state.with_caller_deadlines(callers)),
        false => Err(LogError::Codec("bytes follow the state".to_owned())),
    }
}

/// One part of a state's bytes, and what follows it.
fn part<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, &[u8]), LogError> {
    let (part, read) = bincode::serde::decode_from_slice(bytes, STATE)
        .map_err(|error: bincode::error::DecodeError| LogError::Codec(error.to_string()))?;
    Ok((part, &bytes[read..]))
}

/// The blake3 hash of the state's bytes: what two replays are compared by.
pub fn state_hash(state: &State) -> Result<hindcast_model::Digest, LogError> {
    let bytes = encode_state(state)?;
    Ok(hindcast_model::Digest(*blake3::hash(&bytes).as_bytes()))
}

/// The bytes of a value that only this crate reads.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, LogError> {
    bincode::serde::encode_to_vec(value, STATE).map_err(|error| LogError::Codec(error.to_string()))
}

/// Reads what `encode` wrote.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LogError> {
    bincode::serde::decode_from_slice(bytes, EVENT)
        .map(|(value, _)| value)
        .map_err(|error| LogError::Codec(error.to_string()))
}
