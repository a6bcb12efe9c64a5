//! Numbers of objectives, written as people do: `0.7`, `1500000000`, `99.9%`.

/// Digits after the point of what is no percentage.
const DECIMALS: usize = 6;

/// Millionths of what the text says.
pub(super) fn millionths(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no number such as 0.7, 40 or 99.9%");
    let (digits, decimals) = match text.trim().strip_suffix('%') {
        Some(percent) => (percent.trim_end(), DECIMALS - 2),
        None => (text.trim(), DECIMALS),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) {
        return Err(wrong());
    }
    if fraction.len() > decimals {
        return Err(format!(
            "`{text}` has more than {decimals} digits after the point"
        ));
    }
    format!("{whole}{fraction:0<decimals$}")
        .parse()
        .map_err(|_| format!("`{text}` is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact() {
        for (text, expected) in [
            ("99.9%", 999_000),
            ("100%", 1_000_000),
            ("0.7", 700_000),
            ("40", 40_000_000),
            ("1500000000", 1_500_000_000_000_000),
            ("0.000001", 1),
            ("5 %", 50_000),
        ] {
            assert_eq!(millionths(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "%",
            "-1",
            "1.",
            ".5",
            "1e3",
            "0.0000001",
            "9.99999%",
            "1 0",
        ] {
            assert!(millionths(text).is_err(), "{text}");
        }
        assert!(millionths("99999999999999999999").is_err());
    }
}
