//! `hindcast backup`. Without a server the files of the data directory are read, without taking its
//! lock, so that this works beside a server that is writing.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hindcast_actors::views::{self, BackupView};
use hindcast_actors::{LOCAL, TargetOptions};
use hindcast_backup::{Create, Repository, SigningKey, Verified, Work, create, prune, verify};
use hindcast_model::BackupId;
use hindcast_model::event::BackupKind;
use serde_json::{Value, json};

use super::arguments::{AnyTarget, Backup, Global, Target};
use super::client::{Client, Reply, text};
use super::directory;
use super::output::{Failure, Output, note};
use super::render;
use crate::backups;
use crate::clock::SystemClock;
use crate::config::{Config, TargetConfig};
use crate::ids;

/// How often a server is asked whether a backup has ended.
const ASK_EVERY: Duration = Duration::from_millis(500);

pub(crate) fn run(global: &Global, verb: Backup, output: &Output) -> Result<(), Failure> {
    if let Some(url) = &global.server {
        return remote(&Client::to(url, global)?, verb, output);
    }
    match verb {
        Backup::Create {
            target,
            full,
            no_verify,
            plain_keys,
        } => {
            let here = Here::open(global, &target)?;
            let kind = match full {
                true => BackupKind::Full,
                false => BackupKind::Incremental,
            };
            let view = here.make(kind, plain_keys, !no_verify)?;
            print(output, &view, render::backup)
        }
        Backup::List { target } => {
            let config = global.configuration()?;
            let target = target_of(&config, &target)?;
            let repository = backups::repository(&target)?;
            let listed = match repository.log()? {
                Some(_) => repository.survey()?,
                None => (Vec::new(), Vec::new()),
            };
            let (listed, damaged) = listed;
            for damaged in damaged {
                note(&format!("note: passed over: {damaged}"));
            }
            let (views, protection) = (listed.iter(), repository.protection());
            let view = |listed| views::listed_backup(listed, &target.name, protection);
            let page = json!({ "items": views.map(view).collect::<Vec<_>>() });
            output.either(&page.to_string(), || Ok(render::backups(&page)))
        }
        Backup::Verify { id, target } => {
            let here = Here::open(global, &target)?;
            let id = parse(&id)?;
            here.verify(id)?;
            print(output, &here.view(id)?, render::backup)
        }
        Backup::Signer { file } => {
            let signer = SigningKey::read(&file)?.signer().to_string();
            let document = json!({ "signer": signer });
            output.either(&document.to_string(), || Ok(signer))
        }
        Backup::Prune { target, dry_run } => {
            let config = global.configuration()?;
            let repository = backups::repository(&target_of(&config, &target)?)?;
            let work = Work::new(&SystemClock);
            let pruned = prune(&repository, backups::keep(&config), dry_run, &work)?;
            let ids = |ids: &[BackupId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
            let document = json!({
                "dry_run": dry_run,
                "kept": ids(&pruned.kept),
                "removed": ids(&pruned.removed),
                "objects": pruned.objects,
                "bytes": pruned.bytes,
            });
            output.either(&document.to_string(), || Ok(render::pruned(&document)))
        }
    }
}

/// A data directory and a target.
struct Here {
    data_dir: PathBuf,
    target: TargetOptions,
    repository: Repository,
}

impl Here {
    fn open(global: &Global, target: &AnyTarget) -> Result<Self, Failure> {
        let data_dir = directory::existing(global)?;
        let target = target_of(&global.configuration()?, target)?;
        let repository = backups::repository(&target)?;
        Ok(Self {
            data_dir,
            target,
            repository,
        })
    }

    fn make(&self, kind: BackupKind, plain_keys: bool, check: bool) -> Result<BackupView, Failure> {
        let id = ids::backup();
        let work = Work::new(&SystemClock);
        let plain_keys = plain_keys || self.target.plain_keys;
        let request = Create {
            id,
            kind,
            data_dir: &self.data_dir,
            to: None,
            binary_version: env!("CARGO_PKG_VERSION"),
            plain_keys,
        };
        let manifest = create(&self.repository, &request, &work)?;
        let has_keys = self.data_dir.join("keys").is_dir();
        if has_keys && !self.repository.is_encrypted() {
            note(match plain_keys {
                true => {
                    "warning: the target is not encrypted and holds the data keys: whoever reads \
                     it reads everything that is sealed"
                }
                false => {
                    "warning: the target is not encrypted, so the data keys were left out: keep \
                     keys/ elsewhere, or give --key-file"
                }
            });
        }
        for blob in self.repository.lost()? {
            note(&format!(
                "warning: blob {blob} is lost: the backup is without it; `hindcast repair --plan` \
                 says which sequence wants it"
            ));
        }
        if check {
            self.verify(manifest.id)?;
        }
        self.view(manifest.id)
    }

    fn verify(&self, id: BackupId) -> Result<Verified, Failure> {
        let work = Work::new(&SystemClock);
        Ok(verify(&self.repository, id, &self.data_dir, &work)?)
    }

    fn view(&self, id: BackupId) -> Result<BackupView, Failure> {
        let listed = self.repository.find(id)?;
        let protection = self.repository.protection();
        Ok(views::listed_backup(&listed, &self.target.name, protection))
    }
}

/// The target that the command line names; the local one if it names none.
fn target_of(config: &Config, given: &AnyTarget) -> Result<TargetOptions, Failure> {
    named(
        config,
        given.target.as_deref().unwrap_or(LOCAL),
        &given.with,
    )
}

/// A target by the name that the configuration gives it, or by its address. What the command line
/// says of it counts more.
pub(crate) fn named(config: &Config, name: &str, with: &Target) -> Result<TargetOptions, Failure> {
    let mut configured = config.backup.targets.iter();
    let configured = configured.find(|target| target.name == name).cloned();
    let mut target = configured.unwrap_or_else(|| TargetConfig {
        name: name.to_owned(),
        url: match name {
            LOCAL => String::new(),
            address => address.to_owned(),
        },
        ..TargetConfig::default()
    });
    if let Some(key_file) = &with.key_file {
        target.key_file.clone_from(key_file);
    }
    if let Some(signing_key) = &with.signing_key {
        target.signing_key_file.clone_from(signing_key);
    }
    if let Some(signer) = &with.signer {
        target.signer.clone_from(signer);
    }
    if let Some(endpoint) = &with.endpoint {
        target.endpoint.clone_from(endpoint);
    }
    if let Some(region) = &with.region {
        target.region.clone_from(region);
    }
    if let Some(identity_file) = &with.identity_file {
        target.identity_file.clone_from(identity_file);
    }
    if let Some(known_hosts_file) = &with.known_hosts_file {
        target.known_hosts_file.clone_from(known_hosts_file);
    }
    if let Some(token_file) = &with.token_file {
        target.token_file.clone_from(token_file);
    }
    if let Some(ca_file) = &with.ca_file {
        target.ca_file.clone_from(ca_file);
    }
    let data_dir: &Path = &config.server.data_dir;
    Ok(backups::target(&target, data_dir)?)
}

fn parse(id: &str) -> Result<BackupId, Failure> {
    id.parse()
        .map_err(|_| Failure::Usage(format!("ID: `{id}` is no id of a backup, which is a UUID")))
}

fn print(
    output: &Output,
    view: &BackupView,
    text: impl FnOnce(&Value) -> String,
) -> Result<(), Failure> {
    let value = serde_json::to_value(view)?;
    output.either(&value.to_string(), || Ok(text(&value)))
}

fn remote(client: &Client, verb: Backup, output: &Output) -> Result<(), Failure> {
    let refuse = |target: &Target| match target {
        Target {
            key_file: None,
            signing_key: None,
            signer: None,
            endpoint: None,
            region: None,
            identity_file: None,
            known_hosts_file: None,
            token_file: None,
            // It says how the server itself is reached.
            ca_file: _,
        } => Ok(()),
        Target { .. } => Err(Failure::Usage(
            "what says how a target is reached has no meaning beside --server: the server has its \
             own"
            .to_owned(),
        )),
    };
    match verb {
        Backup::Create {
            target,
            full,
            no_verify: false,
            plain_keys: false,
        } => {
            refuse(&target.with)?;
            let kind = if full { "full" } else { "incremental" };
            let mut body = json!({ "kind": kind });
            if let Some(target) = &target.target {
                body["target"] = json!(target);
            }
            let reply = client.post(
                "/api/v1/backups",
                "application/json",
                body.to_string().as_bytes(),
            )?;
            finished(client, reply, output)
        }
        Backup::List { target } => {
            refuse(&target.with)?;
            let query = target.target.map(|name| format!("?target={name}"));
            let path = format!("/api/v1/backups{}", query.unwrap_or_default());
            super::client::print(output, &client.get(&path)?, render::backups)
        }
        Backup::Verify { id, target } => {
            refuse(&target.with)?;
            let path = format!("/api/v1/backups/{}/verify", parse(&id)?);
            let reply = client.post(&path, "application/json", b"{}")?;
            finished(client, reply, output)
        }
        Backup::Create { .. } => Err(Failure::Usage(
            "--no-verify and --plain-keys have no meaning beside --server: the server's \
             configuration says so"
                .to_owned(),
        )),
        Backup::Signer { .. } => Err(Failure::Usage(
            "the file of a signing key is read here: leave --server out".to_owned(),
        )),
        Backup::Prune { .. } => Err(Failure::Usage(
            "the server prunes after each backup; without --server this prunes a target".to_owned(),
        )),
    }
}

/// Asks until the backup has ended.
fn finished(client: &Client, mut reply: Reply, output: &Output) -> Result<(), Failure> {
    loop {
        let value = reply.value()?;
        match text(&value, "status")? {
            "pending" => {}
            "failed" => {
                let error = value["error"].as_str().unwrap_or("it failed");
                return Err(Failure::failed(error));
            }
            _ => return super::client::print(output, &reply, render::backup),
        }
        std::thread::park_timeout(ASK_EVERY);
        let id = text(&value, "id")?;
        reply = client.get(&format!("/api/v1/backups/{id}"))?;
    }
}
