//! Canonical JSON after RFC 8785: no spaces, keys in the order of their UTF-16 units, numbers as
//! ECMAScript writes them. A whole number that a double does not hold exactly is refused instead of
//! rounded: the RFC leaves such numbers to text.
//!
//! The text is written at once. An object remembers where each field lies, and only one whose
//! fields come out of order is put together again.

use std::borrow::Cow;
use std::fmt::Display;

use hindcast_causal::LabError;
use serde::ser::{
    Error as _, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant,
    SerializeTuple, SerializeTupleStruct, SerializeTupleVariant,
};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

type Fault = serde_json::Error;

/// The largest whole number that every reader of JSON takes exactly (RFC 7493, section 2.2).
const WHOLE_MAX: u64 = (1 << 53) - 1;

/// The canonical text of a value.
pub(crate) fn canonical<T: Serialize>(value: &T) -> Result<String, LabError> {
    let mut text = Vec::with_capacity(512);
    value
        .serialize(Writer(&mut text))
        .map_err(|error| LabError::Internal(format!("no JSON: {error}")))?;
    String::from_utf8(text).map_err(|error| LabError::Internal(format!("no JSON: {error}")))
}

/// Canonical JSON that is spliced into answers as it is, without being read again.
#[derive(Debug, Clone)]
pub struct Json(Box<RawValue>);

impl Json {
    pub(crate) fn of(text: String) -> Result<Self, LabError> {
        let raw = RawValue::from_string(text);
        raw.map(Self)
            .map_err(|error| LabError::Internal(format!("no JSON: {error}")))
    }

    #[must_use]
    pub fn raw(&self) -> &RawValue {
        &self.0
    }
}

impl std::ops::Deref for Json {
    type Target = str;

    fn deref(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Json {}

struct Writer<'a>(&'a mut Vec<u8>);

/// A list that has begun; `close` ends it.
struct List<'a> {
    text: &'a mut Vec<u8>,
    empty: bool,
    close: &'static str,
}

/// An object that has begun: its keys, and where the field of each ends.
struct Object<'a> {
    text: &'a mut Vec<u8>,
    start: usize,
    fields: Vec<(Cow<'static, str>, usize)>,
    close: &'static str,
}

impl Writer<'_> {
    fn whole(self, magnitude: u64, shown: impl Display) -> Result<(), Fault> {
        if magnitude > WHOLE_MAX {
            return Err(Fault::custom(format!(
                "{shown} is not a whole number of at most 53 bits"
            )));
        }
        self.0.extend_from_slice(shown.to_string().as_bytes());
        Ok(())
    }
}

impl<'a> Writer<'a> {
    fn list(self, close: &'static str) -> List<'a> {
        self.0.push(b'[');
        List {
            text: self.0,
            empty: true,
            close,
        }
    }

    fn object(self, fields: usize, close: &'static str) -> Object<'a> {
        self.0.push(b'{');
        Object {
            start: self.0.len(),
            text: self.0,
            fields: Vec::with_capacity(fields),
            close,
        }
    }

    /// Begins an object of one field.
    fn tagged(self, variant: &str) -> Result<Self, Fault> {
        self.0.push(b'{');
        serde_json::to_writer(&mut *self.0, variant)?;
        self.0.push(b':');
        Ok(self)
    }
}

impl List<'_> {
    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Fault> {
        if !std::mem::take(&mut self.empty) {
            self.text.push(b',');
        }
        item.serialize(Writer(self.text))
    }

    fn end(self) {
        self.text.extend_from_slice(self.close.as_bytes());
    }
}

impl Object<'_> {
    fn begin(&mut self, key: Cow<'static, str>) -> Result<(), Fault> {
        serde_json::to_writer(&mut *self.text, key.as_ref())?;
        self.text.push(b':');
        self.fields.push((key, 0));
        Ok(())
    }

    /// Every field is followed by a comma, the last one until the end.
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(Writer(self.text))?;
        self.text.push(b',');
        if let Some((_, end)) = self.fields.last_mut() {
            *end = self.text.len();
        }
        Ok(())
    }

    fn end(self) {
        let follows = |a: &str, b: &str| a.encode_utf16().cmp(b.encode_utf16());
        let sorted = self.fields.is_sorted_by(|a, b| follows(&a.0, &b.0).is_le());
        if !sorted {
            let starts = std::iter::once(self.start).chain(self.fields.iter().map(|f| f.1));
            let mut order: Vec<(&str, usize, usize)> = starts
                .zip(&self.fields)
                .map(|(start, (key, end))| (key.as_ref(), start, *end))
                .collect();
            order.sort_by(|a, b| follows(a.0, b.0));
            let mut again = Vec::with_capacity(self.text.len() - self.start);
            for (_, start, end) in order {
                again.extend_from_slice(&self.text[start..end]);
            }
            self.text.truncate(self.start);
            self.text.extend_from_slice(&again);
        }
        if !self.fields.is_empty() {
            self.text.pop();
        }
        self.text.extend_from_slice(self.close.as_bytes());
    }
}

/// Writes a whole number by its magnitude.
macro_rules! whole {
    ($($name:ident: $kind:ty),*) => {
        $(fn $name(self, value: $kind) -> Result<(), Fault> {
            let magnitude = u64::try_from(i128::from(value).unsigned_abs()).unwrap_or(u64::MAX);
            self.whole(magnitude, value)
        })*
    };
}

impl<'a> Serializer for Writer<'a> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Object<'a>;

    whole!(serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64);
    whole!(serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        self.0
            .extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        if !value.is_finite() {
            return self.serialize_unit();
        }
        let mut buffer = ryu_js::Buffer::new();
        self.0
            .extend_from_slice(buffer.format_finite(value).as_bytes());
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Fault> {
        serde_json::to_writer(self.0, &value)
    }

    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        serde_json::to_writer(self.0, value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Fault> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Fault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        let writer = self.tagged(variant)?;
        value.serialize(Writer(writer.0))?;
        writer.0.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<List<'a>, Fault> {
        Ok(self.list("]"))
    }

    fn serialize_tuple(self, _length: usize) -> Result<List<'a>, Fault> {
        Ok(self.list("]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<List<'a>, Fault> {
        Ok(self.list("]"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _length: usize,
    ) -> Result<List<'a>, Fault> {
        Ok(self.tagged(variant)?.list("]}"))
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Object<'a>, Fault> {
        Ok(self.object(length.unwrap_or(0), "}"))
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Object<'a>, Fault> {
        Ok(self.object(length, "}"))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Object<'a>, Fault> {
        Ok(self.tagged(variant)?.object(length, "}}"))
    }
}

/// The four kinds of list differ in nothing but the trait.
macro_rules! lists {
    ($($kind:ident $add:ident),*) => {
        $(impl $kind for List<'_> {
            type Ok = ();
            type Error = Fault;

            fn $add<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Fault> {
                self.item(item)
            }

            fn end(self) -> Result<(), Fault> {
                self.end();
                Ok(())
            }
        })*
    };
}

lists!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

macro_rules! structs {
    ($($kind:ident),*) => {
        $(impl $kind for Object<'_> {
            type Ok = ();
            type Error = Fault;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                key: &'static str,
                value: &T,
            ) -> Result<(), Fault> {
                self.begin(Cow::Borrowed(key))?;
                self.value(value)
            }

            fn end(self) -> Result<(), Fault> {
                self.end();
                Ok(())
            }
        })*
    };
}

structs!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Object<'_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        // Whatever JSON takes as a key: text, numbers and the names of variants.
        let serde_json::Value::Object(named) = serde_json::to_value(OneKey(key))? else {
            return Err(Fault::custom("a map is no object"));
        };
        let key = named.into_iter().next().map(|(key, _)| key);
        self.begin(Cow::Owned(key.unwrap_or_default()))
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.value(value)
    }

    fn end(self) -> Result<(), Fault> {
        self.end();
        Ok(())
    }
}

/// A map of one key.
struct OneKey<'a, T: ?Sized>(&'a T);

impl<T: Serialize + ?Sized> Serialize for OneKey<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.0, &())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

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

    #[derive(Serialize)]
    enum Shape {
        Unit,
        One(u8),
        Two(i8, f32),
        Named { z: Option<char>, a: () },
    }

    /// Every kind of value that serde knows, against the tree that serde_json makes of it.
    #[test]
    fn every_kind_of_value_is_written_as_its_tree_is() {
        let keyed: BTreeMap<u16, [Shape; 4]> = BTreeMap::from([(
            10,
            [
                Shape::Unit,
                Shape::One(7),
                Shape::Two(-3, 0.5),
                Shape::Named {
                    z: Some('\u{e9}'),
                    a: (),
                },
            ],
        )]);
        let value = (
            keyed,
            BTreeMap::<String, f64>::new(),
            Vec::<u8>::new(),
            f64::NAN,
            (true, "a\"b"),
        );
        let tree: Value = serde_json::to_value(&value).unwrap();
        let theirs = serde_json_canonicalizer::to_string(&tree).unwrap();
        assert_eq!(canonical(&value).unwrap(), theirs);
        assert_eq!(canonical(&tree).unwrap(), theirs);
    }
}
