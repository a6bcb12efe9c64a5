//! `hindcast keys`: who may use a server.

use std::fmt::Write;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::arguments::Global;
use super::client;
use super::local::Session;
use super::output::{Failure, Output, note};

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key and print it, this once.
    #[command(after_help = "Examples:\n  hindcast keys create ada --role admin\n  \
        hindcast keys create ci --role operator --expires 2027-12-31T00:00:00Z --json\n  \
        hindcast keys create board --role viewer --server https://example.org --key-file admin.key")]
    Create {
        /// Who it stands for: the principal of what is done with it.
        name: String,
        /// What it lets in: to read, to work, or to do everything.
        #[arg(long, value_enum)]
        role: RoleWord,
        /// When it ends, such as 2027-12-31T00:00:00Z; never if left out.
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// List the keys, without what proves them.
    #[command(after_help = "Examples:\n  hindcast keys list\n  hindcast keys list --json")]
    List,
    /// End a key.
    #[command(after_help = "Examples:\n  hindcast keys revoke ci")]
    Revoke {
        /// Its name; `keys list` has all.
        name: String,
    },
}

/// What somebody may do; each includes what stands before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RoleWord {
    Viewer,
    Operator,
    Admin,
}

impl RoleWord {
    const fn word(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

pub(crate) fn run(global: &Global, verb: &Keys, output: &Output) -> Result<(), Failure> {
    let session = match verb {
        Keys::List => Session::look(global)?,
        Keys::Create { .. } | Keys::Revoke { .. } => Session::open(global)?,
    };
    let reply = match verb {
        Keys::Create {
            name,
            role,
            expires,
        } => {
            let mut body = json!({ "name": name, "role": role.word() });
            if let Some(expires) = expires {
                body["expires"] = json!(expires);
            }
            let body = body.to_string();
            session
                .client
                .post("/api/v1/keys", "application/json", body.as_bytes())
        }
        Keys::List => session.client.get("/api/v1/keys"),
        Keys::Revoke { name } => {
            let path = format!("/api/v1/keys/{}/revoke", segment(name)?);
            session.client.post(&path, "application/json", b"")
        }
    };
    session.close()?;
    let reply = reply?;
    if let Keys::Create { .. } = verb
        && !output.json
    {
        note("this is the only time that the key is shown; keep it where only you can read it");
        return output.text(client::text(&reply.value()?, "key")?);
    }
    client::print(output, &reply, |value| match verb {
        Keys::List => list(value),
        Keys::Create { .. } | Keys::Revoke { .. } => row(value),
    })
}

/// A name as a part of a path. What is no name is refused here, since it could lead elsewhere.
fn segment(name: &str) -> Result<&str, Failure> {
    match crate::access::may_be_named(name) {
        true => Ok(name),
        false => Err(Failure::Usage(format!(
            "`{name}` cannot be the name of a key"
        ))),
    }
}

fn list(value: &Value) -> String {
    let items = value["items"].as_array().map_or(&[][..], Vec::as_slice);
    if items.is_empty() {
        return "there is no key".to_owned();
    }
    items.iter().fold(String::new(), |mut text, item| {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&row(item));
        text
    })
}

fn row(item: &Value) -> String {
    let word = |name: &str| item[name].as_str().unwrap_or_default();
    let mut text = format!(
        "{:<16} {:<8} {:<8} {}",
        word("name"),
        word("role"),
        word("status"),
        word("id")
    );
    for name in ["expires_at", "revoked_at"] {
        if let Some(at) = item[name].as_str() {
            // Writing to a text does not fail.
            let _ = write!(text, "  {} {at}", name.trim_end_matches("_at"));
        }
    }
    text
}
