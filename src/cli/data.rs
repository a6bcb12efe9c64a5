//! `hindcast data`.

use std::path::Path;

use hindcast_actors::operation::{Format, Limits, Table};
use hindcast_actors::views;
use hindcast_model::Digest;
use serde_json::{Value, json};

use super::arguments::{Data, Global};
use super::causal::{lab_failure, read};
use super::client::{Client, Reply, print};
use super::directory::Directory;
use super::local::Session;
use super::output::{Failure, Output};
use super::render;

pub(crate) fn run(global: &Global, verb: Data, output: &Output) -> Result<(), Failure> {
    match verb {
        Data::Add { file, name } => {
            let bytes = read(&file)?;
            let name = name.unwrap_or_else(|| name_of(&file));
            let session = Session::open(global)?;
            let reply = upload(&session.client, &bytes, &name);
            session.close()?;
            print(output, &reply?, render::dataset)
        }
        Data::List => {
            if let Some(url) = &global.server {
                let reply = Client::to(url, global)?.get("/api/v1/datasets?limit=500")?;
                return print(output, &reply, render::datasets);
            }
            let state = Directory::open(global)?.reader.state()?;
            let page = json!({ "items": views::datasets(&state, None, usize::MAX) });
            output.either(&page.to_string(), || Ok(render::datasets(&page)))
        }
        Data::Profile { table } => profile(global, &table, output),
    }
}

fn profile(global: &Global, table: &str, output: &Output) -> Result<(), Failure> {
    if let Ok(digest) = table.parse::<Digest>() {
        if let Some(url) = &global.server {
            let reply = Client::to(url, global)?.get(&format!("/api/v1/datasets/{table}"))?;
            return print(output, &reply, render::dataset);
        }
        let value = stored(&Directory::open(global)?, digest)?;
        return output.either(&value.to_string(), || Ok(render::dataset(&value)));
    }
    let bytes = read(Path::new(table))?;
    let table = Table::parse(&bytes, &Limits::default()).map_err(lab_failure)?;
    let value = json!({ "profile": table.profile() });
    output.either(&value.to_string(), || Ok(render::dataset(&value)))
}

/// A stored table and its profile, as the server shows it.
fn stored(directory: &Directory, digest: Digest) -> Result<Value, Failure> {
    let state = directory.reader.state()?;
    let Some(meta) = state.dataset(digest) else {
        let missing = Failure::failed(format!("there is no dataset '{digest}'"));
        let hint = "`hindcast data list` shows what is stored";
        return Err(missing.with_hint(Some(hint.to_owned())));
    };
    let bytes = directory.dataset(digest)?;
    let table = Table::parse(&bytes, &Limits::default()).map_err(lab_failure)?;
    let mut value = serde_json::to_value(views::dataset(digest, meta))?;
    value["profile"] = serde_json::to_value(table.profile())?;
    Ok(value)
}

/// Stores a table.
pub(crate) fn upload(client: &Client, bytes: &[u8], name: &str) -> Result<Reply, Failure> {
    let name: String = name.bytes().map(escaped).collect();
    let media_type = Format::of(bytes).media_type();
    client.post(&format!("/api/v1/datasets?name={name}"), media_type, bytes)
}

fn escaped(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    }
}

/// What a table from this file is called.
pub(crate) fn name_of(file: &Path) -> String {
    let stem = file.file_stem().map(|stem| stem.to_string_lossy());
    match stem.as_deref() {
        None | Some("-" | "") => "standard input".to_owned(),
        Some(stem) => stem.to_owned(),
    }
}
