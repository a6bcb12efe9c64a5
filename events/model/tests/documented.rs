//! `docs/events.md` tells of every kind of event what its declaration says.

use hindcast_model::Event;

const DOCUMENT: &str = include_str!("../../../docs/events.md");

#[test]
fn every_kind_stands_in_the_document_as_it_is_declared() {
    for kind in Event::KINDS {
        let origin = if kind.observed { "observed" } else { "decided" };
        let ignorable = if kind.ignorable { "yes" } else { "no" };
        let row = format!(
            "| {} | {} | `{}` | {origin} | {ignorable} | `",
            kind.number, kind.schema, kind.name
        );
        let rows = DOCUMENT.lines().filter(|line| line.starts_with(&row));
        assert_eq!(rows.count(), 1, "docs/events.md has no row {row}");
        let fields = format!("| `{}` | ", kind.name);
        let fields = DOCUMENT.lines().filter(|line| line.starts_with(&fields));
        assert_eq!(fields.count(), 1, "the fields of {}", kind.name);
    }
}

#[test]
fn document_lists_no_kind_that_does_not_exist() {
    let rows = DOCUMENT
        .lines()
        .filter(|line| line.contains("| observed |") || line.contains("| decided |"));
    assert_eq!(rows.count(), Event::KINDS.len());
}
