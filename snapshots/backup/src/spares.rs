//! What a repository holds, as spare copies for a repair.

use hindcast_log::Spares;
use hindcast_model::{Digest, Seq};

use crate::error::{BackupError, TargetError};
use crate::repository::{Repository, blob_name, part_range};

/// The frames and blobs of a repository.
pub struct Copies {
    repository: Repository,
    /// Objects with frames of the log: first and last sequence, and name.
    objects: Vec<(Seq, Seq, String)>,
}

impl Copies {
    /// Looks at what the newest backup names and at what was shipped since.
    pub fn open(repository: &Repository) -> Result<Self, BackupError> {
        let newest = repository.list()?.pop();
        let newest = newest.ok_or(BackupError::NoBackup(""))?;
        let stretches = newest.manifest.stretches.into_iter();
        let mut objects: Vec<(Seq, Seq, String)> = stretches
            .map(|stretch| (stretch.first, stretch.last, stretch.name))
            .collect();
        for name in repository.names("tail/")?.into_keys() {
            if let Some((first, last)) = part_range(&name)
                && !objects.iter().any(|(_, _, known)| *known == name)
            {
                objects.push((first, last, name));
            }
        }
        objects.sort();
        Ok(Self {
            repository: repository.clone(),
            objects,
        })
    }

    fn content(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        match self.repository.content(name) {
            Ok(content) => Ok(Some(content)),
            Err(BackupError::Target(TargetError::Missing { .. })) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Spares for Copies {
    fn frames(&self, first: Seq, next: Option<Seq>) -> Result<Option<Vec<u8>>, String> {
        let mut bytes = Vec::new();
        for (from, last, name) in &self.objects {
            let wanted = *last >= first && next.is_none_or(|next| *from < next);
            if wanted && let Some(content) = self.content(name)? {
                bytes.extend_from_slice(&content);
            }
        }
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    fn blob(&self, digest: Digest) -> Result<Option<Vec<u8>>, String> {
        self.content(&blob_name(digest))
    }
}
