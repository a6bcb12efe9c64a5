//! Files that another program wrote are read to the same table, whatever their format.

use std::path::{Path, PathBuf};

use hindcast_causal::LabError;
use hindcast_causal::data::{Cells, Format, Limits, Table};
use proptest::prelude::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/tables")
}

fn read(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).expect("a file of the repository")
}

const FILES: [(&str, &str); 8] = [
    ("mixed_snappy.parquet", "parquet"),
    ("mixed_zstd.parquet", "parquet"),
    ("mixed_gzip.parquet", "parquet"),
    ("mixed_lz4.parquet", "parquet"),
    ("mixed.arrow", "arrow"),
    ("mixed_zstd.arrow", "arrow"),
    ("mixed_lz4.arrow", "arrow"),
    ("mixed.arrows", "arrow"),
];

#[test]
fn every_format_gives_the_same_table() {
    let numbers: [(&str, [Option<f64>; 6]); 4] = [
        (
            "x",
            [Some(1.5), Some(2.5), None, Some(4.0), None, Some(6.0)],
        ),
        ("n", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].map(Some)),
        ("f32", [0.5, 0.25, 1.0, 2.0, 3.0, 4.0].map(Some)),
        (
            "flag",
            [Some(1.0), Some(0.0), Some(1.0), Some(1.0), Some(0.0), None],
        ),
    ];
    let texts = [("group", "ababab"), ("text", "uvwuvw")];
    for (name, format) in FILES {
        let bytes = read(name);
        assert_eq!(Format::of(&bytes).name(), format, "{name}");
        let table = Table::parse(&bytes, &Limits::default()).expect(name);
        assert_eq!(table.rows(), 6, "{name}");
        let columns = table.columns();
        assert_eq!(columns.len(), 6, "{name}");
        for ((wanted, values), column) in numbers.iter().zip(columns) {
            assert_eq!(column.name, *wanted);
            let Cells::Numbers(read) = &column.cells else {
                panic!("{name}: {wanted} is read as text");
            };
            assert_eq!(read, values, "{name}: {wanted}");
        }
        for ((wanted, letters), column) in texts.iter().zip(&columns[4..]) {
            assert_eq!(column.name, *wanted);
            let Cells::Text { values, .. } = &column.cells else {
                panic!("{name}: {wanted} is read as numbers");
            };
            let letters: Vec<Option<String>> = letters.chars().map(|c| Some(c.into())).collect();
            assert_eq!(*values, letters, "{name}: {wanted}");
        }
        assert_eq!(table.dataset().expect("complete rows").rows(), 3, "{name}");
    }
}

#[test]
fn what_is_neither_number_nor_text_is_refused_by_name() {
    let error = Table::parse(&read("timestamp.parquet"), &Limits::default()).unwrap_err();
    let LabError::Invalid { field, message, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(field, "file");
    assert!(
        message.starts_with("column 'when': type Timestamp"),
        "{message}"
    );
}

#[test]
fn limits_hold_for_every_format() {
    let limits = Limits {
        rows_max: 5,
        ..Limits::default()
    };
    for (name, _) in FILES {
        let error = Table::parse(&read(name), &limits).unwrap_err();
        assert_eq!(
            error.to_string(),
            "rows: 6 is over the limit of 5",
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// A damaged file is an error or another table, never a panic.
    #[test]
    fn damaged_files_are_no_panic(which in 0..FILES.len(), at in 0..2_000_usize, byte in any::<u8>(), cut in 0..2_000_usize) {
        let mut bytes = read(FILES[which].0);
        let at = at % bytes.len();
        bytes[at] = byte;
        drop(Table::parse(&bytes, &Limits::default()));
        bytes.truncate(cut);
        drop(Table::parse(&bytes, &Limits::default()));
    }
}
