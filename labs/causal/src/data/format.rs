//! How a table is written. A file says so itself, by how it begins.

/// A format of files with tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Parquet,
    /// Arrow IPC with a footer.
    ArrowFile,
    /// Arrow IPC without one.
    ArrowStream,
}

impl Format {
    /// The format of a file with these bytes; what begins like no other is text.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.starts_with(b"PAR1") {
            Self::Parquet
        } else if bytes.starts_with(b"ARROW1") {
            Self::ArrowFile
        } else if bytes.starts_with(&[0xff; 4]) {
            // The marker of a message, which no text begins with.
            Self::ArrowStream
        } else {
            Self::Csv
        }
    }

    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::ArrowFile | Self::ArrowStream => "arrow",
        }
    }

    /// The registered media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::ArrowFile => "application/vnd.apache.arrow.file",
            Self::ArrowStream => "application/vnd.apache.arrow.stream",
        }
    }
}
