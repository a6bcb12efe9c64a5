//! Objects of other servers' backups, in the vaults of this one.
//!
//! Who ships a log writes several times a second. A row of the trail for each object would be more
//! than the work of this server, so one row says who begins to change a vault, and then one for each
//! hour in which the same key goes on, with what it did since the row before.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::body::SizedStream;
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use hindcast_backup::{Entry, OBJECT_FIELD, is_object_name};
use hindcast_model::Name16;
use hindcast_model::event::AuditOutcome;
use serde::Serialize;
use utoipa::ToSchema;

use super::body::{self, BodyMemory};
use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::{App, audit, guard};
use crate::clock;
use crate::config::{Config, HttpConfig};
use crate::vaults::{Vault, VaultError, Vaults};

/// Where all of this is.
pub(crate) const PREFIX: &str = "/api/v1/vaults/";
/// Objects of a page.
const PAGE_ITEMS_DEFAULT: usize = 1_000;
const PAGE_ITEMS_MAX: usize = 5_000;
/// Bytes that are read from the disk at once.
const CHUNK_BYTES: usize = 256 << 10;
/// How long a row of the trail stands for what the same key does to the same vault.
const ROW_MICROS: u64 = 3_600 * 1_000_000;
/// Keys and vaults told apart.
const WRITERS_MAX: usize = 10_000;

/// An object of a vault.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ObjectView {
    name: String,
    bytes: u64,
}

/// A page of objects, in the order of their names.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ObjectPage {
    items: Vec<ObjectView>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    next: Option<String>,
}

/// What somebody did to a vault since the last row of the trail.
#[derive(Default)]
struct Since {
    row_at: u64,
    objects: u64,
    bytes: u64,
    removed: u64,
}

type Writer = (String, Name16, Option<String>);

/// The vaults, memory for what is written to them, and who writes.
pub(crate) struct Keeper {
    vaults: Vaults,
    /// As for every other body, with the bounds of an object.
    limits: HttpConfig,
    memory: BodyMemory,
    writers: Mutex<BTreeMap<Writer, Since>>,
}

impl Keeper {
    pub(crate) fn new(config: &Config) -> Self {
        let limits = HttpConfig {
            body_bytes_max: config.vaults.object_bytes_max,
            body_timeout_ms: config.vaults.put_ms_max,
            ..config.http.clone()
        };
        Self {
            vaults: Vaults::new(config),
            memory: BodyMemory::new(&limits),
            limits,
            writers: Mutex::default(),
        }
    }

    /// The row that is due before this writer goes on; none while the last one stands.
    fn row(&self, writer: &Writer) -> Option<String> {
        let writers = self.writers.lock();
        let writers = writers.unwrap_or_else(PoisonError::into_inner);
        let now = clock::monotonic_micros();
        match writers.get(writer) {
            Some(since) if now.saturating_sub(since.row_at) < ROW_MICROS => None,
            Some(since) => Some(format!(
                "goes on; since the row before {} objects with {} bytes were put and {} removed",
                since.objects, since.bytes, since.removed
            )),
            None => Some("begins".to_owned()),
        }
    }

    fn told(&self, writer: Writer) {
        let writers = self.writers.lock();
        let mut writers = writers.unwrap_or_else(PoisonError::into_inner);
        if writers.len() >= WRITERS_MAX {
            writers.clear();
        }
        let row_at = clock::monotonic_micros();
        let since = Since {
            row_at,
            ..Since::default()
        };
        writers.insert(writer, since);
    }

    fn count(&self, writer: &Writer, add: impl FnOnce(&mut Since)) {
        let writers = self.writers.lock();
        let mut writers = writers.unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = writers.get_mut(writer) {
            add(since);
        }
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        let detail = error.to_string();
        match error {
            VaultError::UnknownVault(_) => Self::new(&error::NOT_FOUND, detail)
                .field("path.name")
                .hint("vaults.names says which vaults there are".to_owned()),
            VaultError::UnknownObject(_) => {
                Self::new(&error::NOT_FOUND, detail).field(OBJECT_FIELD)
            }
            VaultError::Name => Self::new(&error::INVALID, detail).field(OBJECT_FIELD).hint(
                "parts of lower-case letters, digits, `-`, `_` and `.` between `/`, at most 512 \
                 bytes; none begins with `.` or ends with `.tmp`"
                    .to_owned(),
            ),
            VaultError::Prefix => Self::new(&error::INVALID, detail).field("query.prefix"),
            VaultError::Full { limit, .. } => Self::new(&error::VAULT_FULL, detail).limit(limit),
            VaultError::DiskLow { reserve, .. } => {
                Self::new(&error::DISK_LOW, detail).limit(reserve)
            }
            VaultError::Target(_) | VaultError::Io { .. } => Self::new(&error::INTERNAL, detail),
        }
    }
}

/// Works with a vault where it may wait for the disk.
async fn with<R: Send + 'static>(
    app: &Data<App>,
    name: &str,
    work: impl FnOnce(Arc<Vault>) -> Result<R, VaultError> + Send + 'static,
) -> Result<R, Problem> {
    let vault = app.keeper.vaults.find(name)?;
    let done = actix_web::web::block(move || work(vault)).await;
    let done = done.map_err(|error| Problem::new(&error::INTERNAL, error.to_string()))?;
    Ok(done?)
}

/// Sees to it that the trail says who changes this vault.
async fn trail(app: &App, request: &HttpRequest, vault: &str) -> Result<Writer, Problem> {
    let principal = guard::principal(request);
    let name = principal
        .as_ref()
        .map_or_else(Name16::default, |known| known.name);
    let key = principal.and_then(|known| known.key.as_deref().map(str::to_owned));
    let writer = (vault.to_owned(), name, key);
    if let Some(reason) = app.keeper.row(&writer) {
        let done = (AuditOutcome::Done, reason.as_str());
        audit::record(app, request, ("vaults.change", vault), done).await?;
        app.keeper.told(writer.clone());
    }
    Ok(writer)
}

/// The objects of a vault, a page at a time.
#[utoipa::path(
    get, path = "/api/v1/vaults/{name}/objects", tag = "vaults", operation_id = "objects",
    params(
        ("name" = String, Path, description = "The vault"),
        ("prefix" = Option<String>, Query, description = "How their names begin"),
        ("limit" = Option<u32>, Query, description = "How many; 1000 if left out", minimum = 1, maximum = 5000),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = ObjectPage),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(
    app: Data<App>,
    request: HttpRequest,
    vault: Path<String>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    let query = Query::read(&request, &["prefix", "limit", "cursor"])?;
    parameters::require_json_accepted(&request)?;
    let expected = format!("a whole number from 1 to {PAGE_ITEMS_MAX}");
    let limit = query.parse::<usize>("limit", &expected)?;
    let limit = limit.unwrap_or(PAGE_ITEMS_DEFAULT);
    let wrong =
        |field: &str, detail: &str| Problem::new(&error::BAD_PARAMETER, detail).field(field);
    if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
        return Err(wrong("query.limit", &expected).limit(PAGE_ITEMS_MAX as u64));
    }
    let after = query.get("cursor").map(str::to_owned);
    if after.as_deref().is_some_and(|after| !is_object_name(after)) {
        return Err(wrong(
            "query.cursor",
            "a cursor here is the name of an object",
        ));
    }
    let prefix = query.get("prefix").unwrap_or("").to_owned();
    let listed = with(&app, &vault, move |vault| {
        vault.list(&prefix, after.as_deref(), limit)
    });
    let (listed, more) = listed.await?;
    let last = listed.last().filter(|_| more);
    let next = last.map(|entry| entry.name.clone());
    let view = |Entry { name, bytes }| ObjectView { name, bytes };
    let items = listed.into_iter().map(view).collect();
    Ok(HttpResponse::Ok().json(ObjectPage { items, next }))
}

/// An object, as it was put.
#[utoipa::path(
    get, path = "/api/v1/vaults/{name}/objects/{object}", tag = "vaults", operation_id = "object",
    params(
        ("name" = String, Path, description = "The vault"),
        ("object" = String, Path, description = "The name of the object, with its `/`"),
    ),
    responses(
        (status = 200, description = "Its bytes", body = Vec<u8>, content_type = "application/octet-stream"),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn read(
    app: Data<App>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    let (vault, object) = path.into_inner();
    let (file, bytes) = with(&app, &vault, move |vault| vault.open(&object)).await?;
    let chunks = stream::try_unfold((file, bytes), |(mut file, left)| async move {
        if left == 0 {
            return Ok::<_, actix_web::Error>(None);
        }
        let size = usize::try_from(left)
            .unwrap_or(CHUNK_BYTES)
            .min(CHUNK_BYTES);
        let read = actix_web::web::block(move || {
            let mut chunk = vec![0; size];
            file.read_exact(&mut chunk)?;
            Ok::<_, std::io::Error>((chunk, file))
        });
        let (chunk, file) = read.await??;
        let left = left - size as u64;
        Ok(Some((Bytes::from(chunk), (file, left))))
    });
    metrics::counter!("vault_objects_total", "vault" => vault, "verb" => "get").increment(1);
    Ok(HttpResponse::Ok()
        .content_type("application/octet-stream")
        .body(SizedStream::new(bytes, Box::pin(chunks))))
}

/// Put an object in place, whole and durable, also of one that is there.
#[utoipa::path(
    put, path = "/api/v1/vaults/{name}/objects/{object}", tag = "vaults", operation_id = "put_object",
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    params(
        ("name" = String, Path, description = "The vault"),
        ("object" = String, Path, description = "The name of the object, with its `/`"),
    ),
    responses(
        (status = 200, description = "It has taken the place of another", body = ObjectView),
        (status = 201, description = "It is there", body = ObjectView),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn put(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let (vault, object) = path.into_inner();
    app.keeper.vaults.find(&vault)?;
    if !is_object_name(&object) {
        return Err(Problem::from(VaultError::Name).closing());
    }
    let keeper = &app.keeper;
    let read = body::read(&request, payload, &keeper.memory, &keeper.limits);
    let body = read.await.map_err(|problem| match problem.kind() {
        kind if *kind == error::TOO_LARGE => problem
            .hint("vaults.object_bytes_max says how many bytes an object may have".to_owned()),
        _ => problem,
    })?;
    let writer = trail(&app, &request, &vault).await?;
    let (bytes, name) = (body.bytes.len() as u64, object.clone());
    let fresh = with(&app, &vault, move |vault| vault.put(&object, &body.bytes)).await?;
    keeper.count(&writer, |since| {
        since.objects += 1;
        since.bytes += bytes;
    });
    metrics::counter!("vault_objects_total", "vault" => vault, "verb" => "put").increment(1);
    let mut builder = match fresh {
        true => HttpResponse::Created(),
        false => HttpResponse::Ok(),
    };
    Ok(builder.json(ObjectView { name, bytes }))
}

/// Remove an object. Doing it twice is the same as once.
#[utoipa::path(
    delete, path = "/api/v1/vaults/{name}/objects/{object}", tag = "vaults", operation_id = "remove_object",
    params(
        ("name" = String, Path, description = "The vault"),
        ("object" = String, Path, description = "The name of the object, with its `/`"),
    ),
    responses(
        (status = 204, description = "It is not there any more"),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn remove(
    app: Data<App>,
    request: HttpRequest,
    path: Path<(String, String)>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    let (vault, object) = path.into_inner();
    app.keeper.vaults.find(&vault)?;
    if !is_object_name(&object) {
        return Err(VaultError::Name.into());
    }
    let writer = trail(&app, &request, &vault).await?;
    with(&app, &vault, move |vault| vault.remove(&object)).await?;
    app.keeper.count(&writer, |since| since.removed += 1);
    metrics::counter!("vault_objects_total", "vault" => vault, "verb" => "delete").increment(1);
    Ok(HttpResponse::NoContent().finish())
}
