//! What `ssh` says on its standard error, and what that means.

/// Bytes that are kept, the last ones.
const SAID_BYTES_MAX: usize = 4 << 10;
/// Characters of it in a message.
const TOLD_CHARS_MAX: usize = 300;

/// Part of what `ssh` says, and what it means. The first that fits counts.
const MEANINGS: &[(&str, &str)] = &[
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host has another key than the one that is known: somebody may be in between",
    ),
    (
        "Host key verification failed",
        "the host's key is not known: put it into the file of known hosts (ssh-keyscan shows it)",
    ),
    (
        "Permission denied (",
        "the host does not let this user in: none of the keys that were offered is accepted",
    ),
    ("subsystem request failed", "the host offers no SFTP"),
    (
        "UNPROTECTED PRIVATE KEY FILE",
        "others can read the private key, and it is not used",
    ),
];

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Said(Vec<u8>);

impl Said {
    pub(super) fn take(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let over = self.0.len().saturating_sub(SAID_BYTES_MAX);
        self.0.drain(..over);
    }

    /// Why the connection ended.
    pub(super) fn reason(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let mut meanings = MEANINGS.iter();
        let meaning = meanings.find(|(part, _)| text.contains(part));
        self.after(meaning.map_or("the connection ended", |(_, meaning)| meaning))
    }

    /// A message, and what was said.
    pub(super) fn after(&self, message: &str) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines = text.lines().map(str::trim);
        // Boxes of `@` are drawn around the worst of it.
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('@'));
        let lines: Vec<&str> = lines.collect();
        if lines.is_empty() {
            return message.to_owned();
        }
        let told = lines.join("; ");
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        let over = told.chars().count().saturating_sub(TOLD_CHARS_MAX);
        let told: String = told.chars().skip(over).map(plain).collect();
        format!("{message} (ssh: {told})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meaning_comes_first_and_the_words_are_bounded() {
        let mut said = Said::default();
        assert_eq!(said.reason(), "the connection ended");
        for _ in 0..1_000 {
            said.take(b"debug1: something that goes on for ever\r\n");
        }
        said.take(b"me@host: Permission denied (publickey).\n");
        let reason = said.reason();
        assert!(
            reason.starts_with("the host does not let this user in"),
            "{reason}"
        );
        assert!(
            reason.ends_with("Permission denied (publickey).)"),
            "{reason}"
        );
        assert!(reason.chars().count() < 450, "{reason}");
        let mut changed = Said::default();
        changed.take(b"@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@\nHost key verification failed.\n");
        assert_eq!(
            changed.reason(),
            "the host has another key than the one that is known: somebody may be in between \
             (ssh: Host key verification failed.)"
        );
    }
}
