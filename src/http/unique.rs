//! JSON whose objects name every key once. The usual reading lets the last of two win, so that a
//! request could say something else than what was computed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why there is no value.
#[derive(Debug)]
pub(crate) enum Unfit {
    /// It is no JSON.
    Json(serde_json::Error),
    /// The path of a key that is given more than once.
    Repeated(String),
}

/// The value of some JSON. How deep it nests is limited by the parser.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Unfit> {
    let mut reading = Reading::default();
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let read = DeserializeSeed::deserialize(&mut reading, &mut json);
    match (reading.repeated, read) {
        (Some(path), _) => Err(Unfit::Repeated(path)),
        (None, Err(error)) => Err(Unfit::Json(error)),
        (None, Ok(value)) => json.end().map(|()| value).map_err(Unfit::Json),
    }
}

/// Where the reader is, and the first key that it met again.
#[derive(Default)]
struct Reading {
    path: Vec<Step>,
    repeated: Option<String>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Reading {
    fn place(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) if text.is_empty() => text.push_str(key),
                Step::Key(key) => {
                    text.push('.');
                    text.push_str(key);
                }
                Step::Index(index) => {
                    text.push('[');
                    text.push_str(&index.to_string());
                    text.push(']');
                }
            }
        }
        text
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reading {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.path.push(Step::Index(items.len()));
            let Some(item) = list.next_element_seed(&mut *self)? else {
                break;
            };
            self.path.pop();
            items.push(item);
        }
        self.path.pop();
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            self.path.push(Step::Key(key.clone()));
            if fields.contains_key(&key) {
                self.repeated = Some(self.place());
                return Err(A::Error::custom("a key is given more than once"));
            }
            let value = map.next_value_seed(&mut *self)?;
            self.path.pop();
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(text: &str) -> String {
        match parse(text.as_bytes()) {
            Err(Unfit::Repeated(path)) => path,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_that_is_given_twice_is_named_by_its_path() {
        assert_eq!(repeated(r#"{"a": 1, "b": [], "a": 1}"#), "a");
        assert_eq!(
            repeated(r#"{"a": [{"b": {"c": 1}}, {"b": {"c": 1, "d": 2, "\u0063": 3}}]}"#),
            "a[1].b.c"
        );
        assert_eq!(repeated(r#"[[1], {"": 1, "": 2}]"#), "[1].");
    }

    #[test]
    fn everything_else_is_read_as_ever() {
        let text = r#"{"a": [1, -2, 2.5, 1e300, true, null, "x\n", {}], "b": {"a": 18446744073709551615}}"#;
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(parse(text.as_bytes()).expect("JSON"), value);
        for bad in ["", "{", "{} {}", "1e999", "nonsense", "[1,]"] {
            assert!(
                matches!(parse(bad.as_bytes()), Err(Unfit::Json(_))),
                "{bad}"
            );
        }
        assert!(matches!(parse(&vec![b'['; 100_000]), Err(Unfit::Json(_))));
    }
}
