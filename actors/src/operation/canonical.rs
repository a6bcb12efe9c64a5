//! Canonical JSON after RFC 8785: no spaces, keys in the order of their UTF-16 units, numbers as
//! ECMAScript writes them. A whole number that a double does not hold exactly is refused instead of
//! rounded: the RFC leaves such numbers to text.

use hindcast_causal::LabError;
use serde::Serialize;
use serde_json::{Map, Number, Value};

/// The largest whole number that every reader of JSON takes exactly (RFC 7493, section 2.2).
const WHOLE_MAX: i128 = (1 << 53) - 1;

/// The canonical text of a value.
pub(crate) fn canonical<T: Serialize>(value: &T) -> Result<String, LabError> {
    let fault = |error: serde_json::Error| LabError::Internal(format!("no JSON: {error}"));
    let value = serde_json::to_value(value).map_err(fault)?;
    let mut text = Vec::with_capacity(512);
    write(&value, &mut text).map_err(fault)?;
    String::from_utf8(text).map_err(|error| LabError::Internal(format!("no JSON: {error}")))
}

fn write(value: &Value, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match value {
        Value::Null => text.extend_from_slice(b"null"),
        Value::Bool(true) => text.extend_from_slice(b"true"),
        Value::Bool(false) => text.extend_from_slice(b"false"),
        Value::Number(number) => write_number(number, text)?,
        Value::String(string) => serde_json::to_writer(text, string)?,
        Value::Array(items) => {
            text.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(b',');
                }
                write(item, text)?;
            }
            text.push(b']');
        }
        Value::Object(fields) => write_object(fields, text)?,
    }
    Ok(())
}

fn write_object(fields: &Map<String, Value>, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
    text.push(b'{');
    for (index, (name, value)) in sorted.into_iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut *text, name)?;
        text.push(b':');
        write(value, text)?;
    }
    text.push(b'}');
    Ok(())
}

fn write_number(number: &Number, text: &mut Vec<u8>) -> Result<(), serde_json::Error> {
    match number.as_f64().filter(|_| number.is_f64()) {
        Some(float) => {
            let mut buffer = ryu_js::Buffer::new();
            text.extend_from_slice(buffer.format_finite(float).as_bytes());
            Ok(())
        }
        None if number
            .as_i128()
            .is_some_and(|whole| whole.abs() <= WHOLE_MAX) =>
        {
            serde_json::to_writer(text, number)
        }
        None => Err(serde::ser::Error::custom(format!(
            "{number} is not a whole number of at most 53 bits"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn small_numbers_and_text_are_written_as_another_implementation_does() {
        let values = [
            json!({"b": 1, "a": [true, false, null], "": {"z": "x\u{8}\u{1f}\"\\/\u{2028}", "A": -7}}),
            json!({"\u{e000}": 1, "\u{1f600}": 2, "\u{f6}": 3, "1": 4, "\r": 5, "</script>": 6}),
            json!([
                0.0,
                -0.0,
                1.0,
                1e21,
                1e20,
                1e-7,
                1e-6,
                0.1,
                4.5,
                333_333_333.333_333_3
            ]),
            json!([
                f64::MAX,
                f64::MIN_POSITIVE,
                5e-324,
                1e23,
                295_147_905_179_352_830_000.0_f64
            ]),
            json!([9_007_199_254_740_991_u64, -9_007_199_254_740_991_i64, 0]),
        ];
        for value in values {
            let theirs = serde_json_canonicalizer::to_string(&value).unwrap();
            assert_eq!(canonical(&value).unwrap(), theirs);
        }
    }

    #[test]
    fn whole_numbers_that_a_double_would_round_are_refused() {
        assert_eq!(
            canonical(&9_007_199_254_740_991_u64).unwrap(),
            "9007199254740991"
        );
        assert!(canonical(&u64::MAX).is_err());
        assert!(canonical(&json!([-9_007_199_254_740_993_i64])).is_err());
    }

    #[test]
    fn reading_and_writing_again_changes_nothing() {
        let text = canonical(&json!({"x": [1.5e300, 1e-300, 2.0, 7], "y": "\u{1f600}"})).unwrap();
        let again: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(canonical(&again).unwrap(), text);
    }
}
