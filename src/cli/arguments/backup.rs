//! The command line of backups and restores.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What the help of a restore says besides.
pub(super) const RESTORE_HELP: &str = "The directory is built beside the one that is there, replayed, and put \
    in its place in one step; the old one is kept as DIR.before-N. Without --from, the log of \
    the data directory itself is cut.\n\n\
    Examples:\n  hindcast restore --from /mnt/backup --to latest --data-dir ./data\n  \
    hindcast restore --from ./data/backups --to 2026-11-22T13:52:46Z --dry-run\n  \
    hindcast restore --from s3://backups/hindcast --endpoint https://s3.example.org \
    --key-file backup.key --json\n  \
    hindcast restore --from sftp://backup@host/srv/hindcast --dry-run\n  \
    hindcast restore --to 1000 --data-dir ./data";

/// Which target is meant.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Target {
    /// The file of the key that the target is encrypted with.
    #[arg(long, value_name = "FILE")]
    pub(crate) key_file: Option<PathBuf>,
    /// The file of the key that signs what the target holds.
    #[arg(long, value_name = "FILE")]
    pub(crate) signing_key: Option<PathBuf>,
    /// The public key of who has to have signed what the target holds; the owner of the signing
    /// key if one is given.
    #[arg(long, value_name = "PUBLIC KEY")]
    pub(crate) signer: Option<String>,
    /// The address of an object store; credentials are in AWS_ACCESS_KEY_ID and
    /// AWS_SECRET_ACCESS_KEY.
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// The region of an object store.
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// The private key for an SSH server; what `ssh` takes by itself if left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) identity_file: Option<PathBuf>,
    /// The file of the keys of SSH servers; what `ssh` takes by itself if left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) known_hosts_file: Option<PathBuf>,
    /// The file of the access key for a second node.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Trust the certificates in this PEM file, and no others, for a server at https:// or a second
    /// node at hindcasts://.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// A target that may be left out.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AnyTarget {
    /// A name of the configuration, a directory, s3://BUCKET/PREFIX, sftp://USER@HOST/PATH or
    /// hindcasts://HOST:PORT/NAME; backups/ in the data directory if left out.
    #[arg(long)]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) with: Target,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Backup {
    /// Send what the target lacks, and verify it by restoring it.
    #[command(after_help = "Examples:\n  hindcast backup create\n  \
        hindcast backup create --target /mnt/backup --key-file backup.key --json\n  \
        hindcast backup create --server http://127.0.0.1:8080 --target offsite")]
    Create {
        #[command(flatten)]
        target: AnyTarget,
        /// Send everything, whatever the target holds.
        #[arg(long)]
        full: bool,
        /// Leave the verification out.
        #[arg(long)]
        no_verify: bool,
        /// Put the data keys into a target that is not encrypted.
        #[arg(long)]
        plain_keys: bool,
    },
    /// List the backups of a target, oldest first.
    #[command(after_help = "Examples:\n  hindcast backup list\n  \
        hindcast backup list --target /mnt/backup --json")]
    List {
        #[command(flatten)]
        target: AnyTarget,
    },
    /// Restore a backup into a scratch directory, replay it and compare its state hash.
    #[command(after_help = "Examples:\n  hindcast backup verify ID\n  \
        hindcast backup verify ID --target /mnt/backup --key-file backup.key")]
    Verify {
        /// Its id; `backup list` has all.
        id: String,
        #[command(flatten)]
        target: AnyTarget,
    },
    /// Print the public key of a signing key, which is what `--signer` takes.
    #[command(after_help = "Examples:\n  hindcast backup signer sign.key")]
    Signer {
        /// 32 random bytes, or 64 hexadecimal digits.
        file: PathBuf,
    },
    /// Remove the backups that are not kept any more, and what nothing needs.
    #[command(after_help = "Examples:\n  hindcast backup prune --dry-run\n  \
        hindcast backup prune --target /mnt/backup --set backup.keep_daily=3")]
    Prune {
        #[command(flatten)]
        target: AnyTarget,
        /// Only say what would be removed.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// A target: a name of the configuration, a directory, s3://BUCKET/PREFIX,
    /// sftp://USER@HOST/PATH or hindcasts://HOST:PORT/NAME.
    #[arg(long, value_name = "TARGET")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) with: Target,
    /// The sequence of an event, a time, latest or latest-verified; latest if left out.
    #[arg(long, value_name = "SEQ or TIME", conflicts_with = "backup")]
    pub(crate) to: Option<String>,
    /// This backup, as it is.
    #[arg(long, value_name = "ID", requires = "from")]
    pub(crate) backup: Option<String>,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
}
