//! The text of a key: `hck_`, its public part, and its secret. The public part finds the key; the
//! secret proves it.

use crate::ids;

const PREFIX: &str = "hck_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

/// A key as its owner has it. It is never written anywhere but in the one answer that makes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    id: String,
    secret: String,
}

impl Token {
    /// A fresh one.
    #[must_use]
    pub fn fresh() -> Self {
        Self {
            id: hex(&ids::bytes::<ID_BYTES>()),
            secret: hex(&ids::bytes::<SECRET_BYTES>()),
        }
    }

    /// The key in a header such as `Bearer hck_0123456789ab_...`.
    pub(super) fn of_header(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let (scheme, token) = text.trim().split_once(' ')?;
        match scheme.eq_ignore_ascii_case("bearer") {
            true => Self::parse(token.trim()),
            false => None,
        }
    }

    /// Reads the text of a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |text: &str, bytes: usize| {
            let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            text.len() == 2 * bytes && text.bytes().all(digit)
        };
        (is_hex(id, ID_BYTES) && is_hex(secret, SECRET_BYTES)).then(|| Self {
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The public part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The whole text, for its owner.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, self.secret)
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({})", self.id)
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_prints_no_secret() {
        let token = Token::fresh();
        assert_ne!(token, Token::fresh());
        let text = token.reveal();
        assert_eq!(Token::parse(&text), Some(token.clone()));
        let header = format!("bearer  {text} ");
        assert_eq!(Token::of_header(header.as_bytes()), Some(token.clone()));
        assert!(!format!("{token:?}").contains(token.secret()));
    }

    #[test]
    fn what_is_no_key_is_none() {
        let text = Token::fresh().reveal();
        for wrong in [
            &text[1..],
            &text[..text.len() - 1],
            "",
            "hck__",
            &text.to_uppercase(),
        ] {
            assert_eq!(Token::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Token::of_header(format!("Basic {text}").as_bytes()), None);
        assert_eq!(Token::of_header(text.as_bytes()), None);
        assert_eq!(Token::of_header(b"\xff\xff"), None);
    }
}
