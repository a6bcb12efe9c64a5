//! What is wrong with a field, in the words of those who wrote it and not in names of Rust types.

/// The message of a failed deserialization, without type names.
#[must_use]
pub fn plain(message: &str) -> String {
    let Some((found, expected)) = message.rsplit_once(", expected ") else {
        return message.to_owned();
    };
    let whole = found.starts_with("invalid value: integer");
    let words = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" | "isize"
            if !whole =>
        {
            "a whole number".to_owned()
        }
        "u32" => format!("a whole number from 0 to {}", u32::MAX),
        "u8" | "u16" | "u64" | "usize" => format!("a whole number from 0 to {}", super::SEED_MAX),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number that is smaller".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "string or map" => "a text or an object".to_owned(),
        "a string" => "a text".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        "a boolean" => "true or false".to_owned(),
        _ if expected.starts_with("struct ") => "an object".to_owned(),
        _ => {
            let items = expected
                .strip_prefix("a tuple of size ")
                .or_else(|| expected.strip_prefix("an array of length "));
            match items {
                Some(items) => format!("a list of {items}"),
                None => return message.to_owned(),
            }
        }
    };
    let found = found
        .replacen("invalid type: ", "", 1)
        .replacen("invalid value: ", "", 1)
        .replacen("floating point ", "number ", 1)
        .replacen("integer ", "number ", 1)
        .replacen("string ", "text ", 1);
    let found = match found.as_str() {
        "sequence" => "a list",
        "map" => "an object",
        other => other,
    };
    format!("{found} is given, expected {words}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_names_are_told() {
        for (message, words) in [
            (
                "invalid type: string \"a\", expected f64",
                "text \"a\" is given, expected a number",
            ),
            (
                "invalid type: floating point `1.5`, expected u32",
                "number `1.5` is given, expected a whole number",
            ),
            (
                "invalid value: integer `-1`, expected usize",
                "number `-1` is given, expected a whole number from 0 to 9007199254740991",
            ),
            (
                "invalid type: sequence, expected struct Series",
                "a list is given, expected an object",
            ),
            (
                "invalid type: integer `7`, expected string or map",
                "number `7` is given, expected a text or an object",
            ),
            (
                "invalid length 1, expected a tuple of size 2",
                "invalid length 1 is given, expected a list of 2",
            ),
            (
                "unknown field `a`, expected `b`",
                "unknown field `a`, expected `b`",
            ),
            ("missing field `b`", "missing field `b`"),
        ] {
            assert_eq!(plain(message), words);
        }
    }
}
