//! Uploads: checked and profiled before they are kept, kept before they are recorded.

use std::borrow::Cow;
use std::sync::Arc;

use hindcast_causal::LabError;
use hindcast_causal::data::{Format, Limits, Profile, Table};
use hindcast_log::Pinned;
use hindcast_model::event::{DatasetRefused, DatasetRegistered, DatasetUploaded, Event};
use hindcast_model::{Command, Digest, KeyId};

use super::Door;
use super::request::{DatasetAnswer, SEALED_NAME, SubmitFailure, Upload};

struct Stored {
    format: Format,
    profile: Profile,
    pinned: Pinned,
    bytes: u64,
}

pub(super) async fn upload(door: &Door, upload: Upload) -> Result<DatasetAnswer, SubmitFailure> {
    let Upload {
        bytes,
        name,
        identity,
        idempotency,
    } = upload;
    let key = match identity.subject {
        Some(_) => door.key_for(&identity).await?,
        None => KeyId(0),
    };
    let name = match identity.subject {
        Some(_) => SEALED_NAME.to_owned(),
        None => name,
    };
    let Stored {
        format,
        profile,
        pinned,
        bytes,
    } = store(door, key, bytes).await?;
    let digest = pinned.digest();
    let now = door.environment.clock.wall();
    let first = door.log.state(|state| {
        let at = state.first_upload(identity.principal, idempotency.as_ref()?, digest, now)?;
        Some((at, state.dataset(digest)?.registered_at))
    });
    let event = Event::DatasetUploaded(DatasetUploaded {
        digest,
        name,
        format: format.name().to_owned(),
        bytes,
        rows: profile.rows,
        columns: u32::try_from(profile.columns.len()).unwrap_or(u32::MAX),
        idempotency,
    });
    let command = Command {
        key,
        ..identity.command(event)
    };
    let receipt = door.submit(command.into()).await;
    drop(pinned);
    let receipt = receipt?;
    if key == KeyId(0) {
        show_missing(digest, &profile);
    }
    let answer = receipt.decided.into_iter().find_map(|event| {
        if let Event::DatasetRefused(DatasetRefused { refusal, .. }) = event {
            Some(DatasetAnswer::Refused { digest, refusal })
        } else if let Event::DatasetRegistered(DatasetRegistered { known, .. }) = event {
            let profile = Box::new(profile.clone());
            Some(DatasetAnswer::Registered {
                digest,
                seq: receipt.first,
                known: first.map_or(known, |(at, registered_at)| at != registered_at),
                replayed: first.is_some(),
                bytes,
                profile,
            })
        } else {
            None
        }
    });
    Ok(answer.expect("every upload is registered or refused"))
}

/// Shows how much of a dataset is missing. What is sealed for a subject is nobody's to see.
fn show_missing(digest: Digest, profile: &Profile) {
    let missing: u64 = profile.columns.iter().map(|column| column.missing).sum();
    let cells = profile.rows.saturating_mul(profile.columns.len() as u64);
    let share = missing as f64 / cells.max(1) as f64;
    let digest = digest.to_string();
    metrics::gauge!("missing_data_ratio", "dataset" => digest.clone()).set(share);
    metrics::gauge!("missing_data_percentage", "dataset" => digest).set(100.0 * share);
}

/// Checks the table and keeps it, sealed under a key that is not 0.
async fn store(door: &Door, key: KeyId, bytes: Vec<u8>) -> Result<Stored, SubmitFailure> {
    let (log, vault) = (door.log.clone(), Arc::clone(&door.environment.vault));
    blocking(door, move || {
        let table = Table::parse(&bytes, &Limits::default())
            .map_err(|error| SubmitFailure::Invalid(within_csv(error)))?;
        let profile = table.profile();
        let failed = |error: &dyn std::fmt::Display| {
            SubmitFailure::Unavailable(format!("the dataset could not be stored: {error}"))
        };
        let content = match key {
            KeyId(0) => Cow::Borrowed(&bytes),
            key => Cow::Owned(vault.seal_dataset(key, &bytes).map_err(|e| failed(&e))?),
        };
        let pinned = log.blobs().put(&content).map_err(|e| failed(&e))?;
        Ok(Stored {
            format: Format::of(&bytes),
            profile,
            pinned,
            bytes: bytes.len() as u64,
        })
    })
    .await
}

/// The header is part of the field that holds the table.
fn within_csv(error: LabError) -> LabError {
    match error {
        LabError::Invalid {
            field,
            message,
            hint,
        } if field.starts_with("header") => LabError::Invalid {
            field: format!("csv.{field}"),
            message,
            hint,
        },
        other @ (LabError::Invalid { .. }
        | LabError::TooLarge { .. }
        | LabError::Stopped(_)
        | LabError::FailedVerification { .. }
        | LabError::Internal(_)) => other,
    }
}

/// Runs `work` where it may wait for the disk, unless too many do.
pub(super) async fn blocking<R: Send + 'static>(
    door: &Door,
    work: impl FnOnce() -> Result<R, SubmitFailure> + Send + 'static,
) -> Result<R, SubmitFailure> {
    let Ok(permit) = Arc::clone(&door.blob_writers).try_acquire_owned() else {
        return Err(door.busy("the blob writers"));
    };
    let done = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work()
    });
    done.await.unwrap_or_else(|error| {
        Err(SubmitFailure::Unavailable(format!(
            "storing the payload ended early: {error}"
        )))
    })
}
