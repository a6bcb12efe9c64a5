//! What differs between two documents or two states, fact by fact. A fact is named by its path, a
//! JSON pointer (RFC 6901).

use hindcast_model::State;
use serde::Serialize;
use serde_json::Value;

use super::facts::{self, Difference, Sink};

/// A fact that is only in one of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Fact {
    /// A JSON pointer into the state.
    pub path: String,
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub value: Value,
}

/// A fact that is another in each.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Change {
    /// A JSON pointer into the state.
    pub path: String,
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub before: Value,
    #[cfg_attr(feature = "schema", schema(value_type = Object))]
    pub after: Value,
}

/// What differs, in the order of the document.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Changes {
    pub added: Vec<Fact>,
    pub removed: Vec<Fact>,
    pub changed: Vec<Change>,
    /// Entries that differ and are not listed, because there are too many.
    pub omitted: u64,
}

impl Changes {
    /// Whether nothing differs.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && self.omitted == 0
    }

    /// Lists what differs below `path`: leaves of objects, anything else as a whole.
    fn leaves(&mut self, path: &str, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
                names.sort_unstable();
                names.dedup();
                for name in names {
                    let path = format!("{path}/{}", escaped(name));
                    self.leaves(&path, before.get(name), after.get(name));
                }
            }
            (Some(before), Some(after)) if before == after => {}
            (Some(before), Some(after)) => self.changed.push(Change {
                path: path.to_owned(),
                before: before.clone(),
                after: after.clone(),
            }),
            (None, Some(value)) => self.added.push(fact(path, value)),
            (Some(value), None) => self.removed.push(fact(path, value)),
            (None, None) => {}
        }
    }
}

fn fact(path: &str, value: &Value) -> Fact {
    Fact {
        path: path.to_owned(),
        value: value.clone(),
    }
}

/// A name as a step of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

struct Limited {
    changes: Changes,
    left: usize,
}

impl Sink for Limited {
    fn one(&mut self, name: &'static str, before: Option<Value>, after: Value) {
        let path = format!("/{name}");
        self.changes.leaves(&path, before.as_ref(), Some(&after));
    }

    fn collection(&mut self, _name: &'static str) {}

    fn takes(&mut self, _name: &'static str, _change: Difference) -> bool {
        let fits = self.left > 0;
        match fits {
            true => self.left -= 1,
            false => self.changes.omitted += 1,
        }
        fits
    }

    fn entry(
        &mut self,
        name: &'static str,
        key: String,
        before: Option<Value>,
        after: Option<Value>,
    ) {
        let path = format!("/{name}/{}", escaped(&key));
        self.changes.leaves(&path, before.as_ref(), after.as_ref());
    }
}

/// What differs between two states, with up to `max` entries of their collections.
#[must_use]
pub fn states(before: &State, after: &State, max: usize) -> Changes {
    let mut limited = Limited {
        changes: Changes::default(),
        left: max,
    };
    facts::visit(Some(before), after, &mut limited);
    limited.changes
}

/// What differs between two documents; a document that is not there holds no fact.
#[must_use]
pub fn documents(before: Option<&Value>, after: Option<&Value>) -> Changes {
    let empty = Value::Object(serde_json::Map::new());
    let mut changes = Changes::default();
    changes.leaves(
        "",
        Some(before.unwrap_or(&empty)),
        Some(after.unwrap_or(&empty)),
    );
    changes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_are_named_by_pointers() {
        let before = json!({ "a": { "x/y": 1, "gone": [1] }, "same": 2 });
        let after = json!({ "a": { "x/y": 2, "new~": {} }, "same": 2 });
        let changes = documents(Some(&before), Some(&after));
        assert_eq!(changes.changed[0].path, "/a/x~1y");
        assert_eq!(before.pointer("/a/x~1y"), Some(&changes.changed[0].before));
        assert_eq!(after.pointer("/a/new~0"), Some(&changes.added[0].value));
        assert_eq!(changes.removed[0].path, "/a/gone");
        assert!(documents(Some(&after), Some(&after)).is_empty());
        assert_eq!(documents(None, Some(&json!({ "a": 1 }))).added.len(), 1);
    }
}
