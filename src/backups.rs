//! Targets of backups as the configuration or the command line names them: addresses, credentials
//! and keys are read here, once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hindcast_actors::{BackupOptions, LOCAL, TargetOptions};
use hindcast_backup::{
    Access, Address, BackupError, Keep, Key, NodeOptions, Repository, S3Options, SigningKey,
    SshOptions, TargetError,
};

use crate::access::Token;
use crate::config::{Config, TargetConfig};
use crate::ids;

/// What a signer is named by.
pub const SIGNER_FORM: &str = "a signer is a public key of 64 lower-case hexadecimal digits";

/// Why the targets of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetProblem {
    #[error("backup.targets, `{name}`: {error}")]
    Target { name: String, error: BackupError },
    #[error("backup.targets, `{name}`: {what}")]
    Credentials { name: String, what: String },
}

/// What the backup actor is told.
pub fn options(config: &Config) -> Result<BackupOptions, TargetProblem> {
    let backup = &config.backup;
    let mut targets = Vec::new();
    let named_local = |target: &&TargetConfig| target.name == LOCAL;
    if !backup.targets.iter().any(|target| named_local(&target)) {
        let local = TargetConfig {
            name: LOCAL.to_owned(),
            ..TargetConfig::default()
        };
        targets.push(target(&local, &config.server.data_dir)?);
    }
    for configured in &backup.targets {
        targets.push(target(configured, &config.server.data_dir)?);
    }
    Ok(BackupOptions {
        targets,
        roots: backup.roots.clone(),
        // `Config::check` has read it before.
        schedule: backup.schedule.parse().unwrap_or_default(),
        drill_schedule: backup.drill_schedule.parse().unwrap_or_default(),
        verify: backup.verify,
        keep: keep(config),
        attempts_max: backup.attempts_max,
        ship_every: Duration::from_millis(backup.ship_ms),
        ..BackupOptions::default()
    })
}

/// Which backups are kept.
#[must_use]
pub const fn keep(config: &Config) -> Keep {
    Keep {
        daily: config.backup.keep_daily,
        weekly: config.backup.keep_weekly,
        monthly: config.backup.keep_monthly,
    }
}

/// One target with its credentials and its key.
pub fn target(config: &TargetConfig, data_dir: &Path) -> Result<TargetOptions, TargetProblem> {
    let failed = |error: BackupError| TargetProblem::Target {
        name: config.name.clone(),
        error,
    };
    let address = match config.url.as_str() {
        "" if config.name == LOCAL => Address::Directory(data_dir.join("backups")),
        url => url
            .parse()
            .map_err(|error: TargetError| failed(error.into()))?,
    };
    let s3 = match &address {
        Address::S3 { .. } => Some(credentials(config)?),
        Address::Directory(_) | Address::Sftp(_) | Address::Node(_) => None,
    };
    let access = Access {
        s3,
        ssh: ssh(config),
        node: node(config)?,
    };
    let key = match config.key_file.as_os_str().is_empty() {
        true => None,
        false => Some(Key::read(&config.key_file).map_err(failed)?),
    };
    let signing = match config.signing_key_file.as_os_str().is_empty() {
        true => None,
        false => Some(SigningKey::read(&config.signing_key_file).map_err(failed)?),
    };
    let signer = match config.signer.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| TargetProblem::Credentials {
            name: config.name.clone(),
            what: format!("signer: `{text}`: {SIGNER_FORM}"),
        })?),
    };
    Ok(TargetOptions {
        name: config.name.clone(),
        address,
        access,
        key,
        signing,
        signer,
        continuous: config.continuous,
        plain_keys: config.plain_keys,
    })
}

/// What `ssh` is given beside what it knows by itself.
pub(crate) fn ssh(config: &TargetConfig) -> SshOptions {
    SshOptions::new(
        given(&config.identity_file),
        given(&config.known_hosts_file),
    )
}

fn given(file: &Path) -> Option<PathBuf> {
    (!file.as_os_str().is_empty()).then(|| file.to_owned())
}

/// What another server asks for.
fn node(config: &TargetConfig) -> Result<NodeOptions, TargetProblem> {
    let refuse = |file: &Path, what: &str| TargetProblem::Credentials {
        name: config.name.clone(),
        what: format!("token_file, {}: {what}", file.display()),
    };
    let token = match given(&config.token_file) {
        None => None,
        Some(file) => {
            let text = std::fs::read_to_string(&file);
            let text = text.map_err(|error| refuse(&file, &error.to_string()))?;
            let token =
                Token::parse(text.trim()).ok_or_else(|| refuse(&file, "it holds no key"))?;
            Some(token.reveal())
        }
    };
    Ok(NodeOptions {
        token,
        ca_file: given(&config.ca_file),
    })
}

fn credentials(config: &TargetConfig) -> Result<S3Options, TargetProblem> {
    let refuse = |what: String| TargetProblem::Credentials {
        name: config.name.clone(),
        what,
    };
    let read = |file: &Path, variable: &str| match file.as_os_str().is_empty() {
        true => std::env::var(variable)
            .map_err(|_| refuse(format!("neither a file nor {variable} holds a credential"))),
        false => std::fs::read_to_string(file)
            .map(|text| text.trim().to_owned())
            .map_err(|error| refuse(format!("{}: {error}", file.display()))),
    };
    Ok(S3Options {
        endpoint: config.endpoint.clone(),
        region: match config.region.as_str() {
            "" => "us-east-1".to_owned(),
            region => region.to_owned(),
        },
        access_key: read(&config.access_key_file, "AWS_ACCESS_KEY_ID")?,
        secret_key: read(&config.secret_key_file, "AWS_SECRET_ACCESS_KEY")?,
    })
}

/// The repository in a target.
pub fn repository(target: &TargetOptions) -> Result<Repository, BackupError> {
    let opened = target.address.open(&target.access)?;
    let repository = Repository::new(opened, target.key.clone(), Arc::new(ids::bytes));
    Ok(repository.signed(target.signing.clone(), target.signer))
}

/// Removes what a verification left that was cut short.
pub(crate) fn clear_scratch(data_dir: &Path) {
    match std::fs::remove_dir_all(data_dir.join("scratch")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "the scratch directory cannot be removed");
        }
        Ok(()) | Err(_) => {}
    }
}
