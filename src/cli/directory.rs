//! A data directory, read from its files: without the lock, without writing, and beside a server
//! that is writing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hindcast_log::{Blobs, MasterKey, Reader, RealDisk, Recorded, Vault, walk};
use hindcast_model::StreamKind;
use hindcast_model::{Digest, KeyId, Payload, Stream};

use super::arguments::Global;
use super::output::{Failure, note};
use crate::privacy::master_key;

/// What is read from a data directory.
pub(crate) struct Directory {
    pub(crate) reader: Reader,
    pub(crate) blobs: Blobs,
    keys: Option<Vault>,
    data_dir: PathBuf,
}

/// The data directory that the command line means, which has to be there.
pub(crate) fn existing(global: &Global) -> Result<PathBuf, Failure> {
    let data_dir = global.configuration()?.server.data_dir;
    check(&data_dir)?;
    Ok(data_dir)
}

/// Whether a data directory is there.
pub(crate) fn check(data_dir: &Path) -> Result<(), Failure> {
    if data_dir.is_dir() {
        return Ok(());
    }
    let message = format!("there is no data directory {}", data_dir.display());
    let hint = "name it with --data-dir, or a server with --server";
    Err(Failure::failed(message).with_hint(Some(hint.to_owned())))
}

/// The master key that the configuration names, if it names one.
pub(crate) fn master(global: &Global) -> Result<Option<MasterKey>, Failure> {
    let config = global.configuration()?;
    master_key(&config).map_err(Failure::configuration)
}

impl Directory {
    /// Opens the directory that the command line means.
    pub(crate) fn open(global: &Global) -> Result<Self, Failure> {
        Self::at(&existing(global)?, master(global)?.as_ref())
    }

    /// Opens this directory.
    pub(crate) fn at(data_dir: &Path, master: Option<&MasterKey>) -> Result<Self, Failure> {
        let reader = Reader::open(data_dir)?;
        let keys = Vault::open(data_dir, master);
        let keys = keys.inspect_err(|error| note(&format!("sealed payloads: {error}")));
        Ok(Self {
            blobs: reader.blobs(),
            reader,
            keys: keys.ok(),
            data_dir: data_dir.to_owned(),
        })
    }

    /// The text of a payload, if it can be read here.
    pub(crate) fn text(&self, key: KeyId, payload: &Payload) -> Option<String> {
        let text = self.keys.as_ref()?.text(&self.blobs, key, payload);
        text.ok().map(Cow::into_owned)
    }

    /// The bytes of a stored dataset.
    pub(crate) fn dataset(&self, digest: Digest) -> Result<Vec<u8>, Failure> {
        match &self.keys {
            Some(vault) => Ok(vault.dataset(&self.blobs, digest)?),
            None => Ok(self.blobs.get(digest)?),
        }
    }

    /// The events of every stream of a kind, in order.
    pub(crate) fn streams(&self, kind: StreamKind) -> Result<Vec<Vec<Recorded>>, Failure> {
        let mut found: BTreeMap<Stream, Vec<Recorded>> = BTreeMap::new();
        walk(&RealDisk, &self.data_dir, |recorded, _| {
            if recorded.stream.kind == kind {
                let events = found.entry(recorded.stream).or_default();
                events.push(recorded.clone());
            }
            Ok(())
        })?;
        Ok(found.into_values().collect())
    }
}
