//! Stored tables: upload, list, profile.

use actix_multipart::Multipart;
use actix_web::http::header::LOCATION;
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::{StreamExt, stream};
use hindcast_actors::operation::{DIGEST_HINT, Limits, Profile, Table};
use hindcast_actors::views::{self, DatasetView};
use hindcast_actors::{DatasetAnswer, Upload};
use hindcast_log::Vault;
use hindcast_model::{Digest, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::causal::REPLAYED;
use super::error::{self, Problem};
use super::parameters::{self, Query};
use super::{App, blocking, body, identity, subject};

/// Characters of a name; the limit of the log.
const NAME_CHARS_MAX: usize = hindcast_model::limits::NAME_CHARS_MAX;
const UNNAMED: &str = "unnamed";

/// A table to store.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewDataset {
    /// What to call it, in at most 128 characters.
    #[schema(min_length = 1, max_length = 128)]
    pub(crate) name: String,
    /// The text of a CSV file with a header.
    pub(crate) csv: String,
}

/// What is uploaded, whichever way it came.
struct Received {
    name: String,
    bytes: Bytes,
}

/// Store a table under the hash of its bytes.
///
/// The body is JSON, a file as it is (CSV, Parquet, Arrow IPC; the name then comes from the
/// parameter `name`), or a form with the parts `file` and `name`.
#[utoipa::path(
    post, path = "/api/v1/datasets", tag = "data", operation_id = "add_dataset",
    request_body(content(
        (NewDataset = "application/json"),
        (String = "text/csv"),
        (Vec<u8> = "application/vnd.apache.parquet"),
        (Vec<u8> = "application/vnd.apache.arrow.file"),
        (Vec<u8> = "application/vnd.apache.arrow.stream"),
    )),
    params(super::openapi::PostHeaders, (
        "name" = Option<String>, Query, description = "What to call a file that is the whole body"
    )),
    responses(
        (status = 200, description = "The same bytes were stored before", body = DatasetProfile),
        (status = 201, description = "It is stored", body = DatasetProfile),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn add(
    app: Data<App>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let http = &app.config.http;
    let query = Query::read(&request, &["name"])?;
    parameters::require_json_accepted(&request)?;
    let key = parameters::idempotency_key(&request, http)?;
    let media = body::media_type(&request);
    if !FILES.contains(&media.as_str())
        && !matches!(media.as_str(), "application/json" | "multipart/form-data")
    {
        let problem = Problem::new(&error::MEDIA_TYPE, format!("'{media}' is not read here"));
        let hint = "send text/csv, application/vnd.apache.parquet, \
                    application/vnd.apache.arrow.file, application/vnd.apache.arrow.stream, \
                    multipart/form-data or application/json";
        return Err(problem.field("header.content-type").hint(hint.to_owned()));
    }
    let body = body::read(&request, payload, &app.memory, http).await?;
    let received = match media.as_str() {
        "application/json" => from_json(&body.bytes, http.json_depth_max)?,
        "multipart/form-data" => from_form(&request, body.bytes.clone()).await?,
        _ => Received {
            name: query.get("name").unwrap_or(UNNAMED).to_owned(),
            bytes: body.bytes.clone(),
        },
    };
    check_name(&received.name)?;
    if Vault::looks_sealed(&received.bytes) {
        let problem = Problem::new(&error::INVALID, "a table does not begin like this");
        return Err(problem.field("body"));
    }
    let name = received.name.as_bytes();
    let parts: [&[u8]; 3] = [name, &received.bytes, subject(&request)];
    let idempotency = key.map(|key| body::idempotency(&key, "datasets", &parts));
    let upload = Upload {
        bytes: received.bytes.to_vec(),
        name: received.name,
        identity: identity(&request)?,
        idempotency,
    };
    match running.experiment.upload(upload).await? {
        DatasetAnswer::Registered {
            digest,
            known,
            replayed,
            profile,
            ..
        } => {
            let view = |state: &State| state.dataset(digest).map(|m| views::dataset(digest, m));
            let missing = || Problem::new(&error::INTERNAL, "the dataset is not in the state");
            let answer = DatasetProfile {
                dataset: running.log.state(view).ok_or_else(missing)?,
                profile: *profile,
            };
            let mut builder = match known {
                true => HttpResponse::Ok(),
                false => HttpResponse::Created(),
            };
            builder.insert_header((LOCATION, format!("/api/v1/datasets/{digest}")));
            if replayed {
                builder.insert_header((REPLAYED, "true"));
            }
            Ok(builder.json(answer))
        }
        DatasetAnswer::Refused { refusal, .. } => Err(refusal.into()),
    }
}

fn from_json(bytes: &Bytes, depth_max: usize) -> Result<Received, Problem> {
    body::check_depth(bytes, depth_max)?;
    let new: NewDataset = body::typed(bytes)?;
    Ok(Received {
        name: new.name,
        bytes: new.csv.into(),
    })
}

async fn from_form(request: &HttpRequest, bytes: Bytes) -> Result<Received, Problem> {
    let source = stream::iter([Ok::<_, actix_web::error::PayloadError>(bytes)]);
    let mut form = Multipart::new(request.headers(), source);
    let malformed = |detail: String| Problem::new(&error::MALFORMED, detail).field("body");
    let (mut name, mut file) = (None, None);
    while let Some(field) = form.next().await {
        let mut field = field.map_err(|error| malformed(error.to_string()))?;
        let part = field.name().unwrap_or("").to_owned();
        let filename = field
            .content_disposition()
            .and_then(|disposition| disposition.get_filename())
            .map(str::to_owned);
        let mut content = Vec::new();
        while let Some(chunk) = field.next().await {
            let chunk = chunk.map_err(|error| malformed(error.to_string()))?;
            content.extend_from_slice(&chunk);
        }
        match part.as_str() {
            "file" if file.is_none() => file = Some((filename, Bytes::from(content))),
            "name" if name.is_none() => {
                let text = String::from_utf8(content);
                name = Some(text.map_err(|_| malformed("the name is not UTF-8".to_owned()))?);
            }
            "file" | "name" => return Err(malformed(format!("two parts are called '{part}'"))),
            _ => {
                let problem = malformed(format!("no part is called '{part}' here"));
                return Err(problem.hint("send the parts `file` and `name`".to_owned()));
            }
        }
    }
    let Some((filename, bytes)) = file else {
        return Err(malformed("there is no part called 'file'".to_owned()));
    };
    let name = name.or(filename).unwrap_or_else(|| UNNAMED.to_owned());
    Ok(Received { name, bytes })
}

fn check_name(name: &str) -> Result<(), Problem> {
    let problem = |detail: &str| Problem::new(&error::INVALID, detail).field("name");
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        return Err(problem("a name is not empty and has no control characters"));
    }
    if name.chars().count() > NAME_CHARS_MAX {
        return Err(problem("the name is too long").limit(NAME_CHARS_MAX as u64));
    }
    Ok(())
}

/// Bodies that are the file itself. What it holds is read off the bytes, whatever it is called.
const FILES: [&str; 5] = [
    "text/csv",
    "application/vnd.apache.parquet",
    "application/vnd.apache.arrow.file",
    "application/vnd.apache.arrow.stream",
    "application/octet-stream",
];

/// A page of datasets, in the order of their digests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DatasetPage {
    pub(crate) items: Vec<DatasetView>,
    /// Where the next page begins; absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) next: Option<String>,
}

/// A stored table and its columns.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DatasetProfile {
    #[serde(flatten)]
    pub(crate) dataset: DatasetView,
    pub(crate) profile: Profile,
}

/// What is stored.
#[utoipa::path(
    get, path = "/api/v1/datasets", tag = "data", operation_id = "datasets",
    params(super::openapi::PageParameters),
    responses(
        (status = 200, description = "A page", body = DatasetPage),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn list(app: Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let running = app.running()?;
    let query = Query::read(&request, &["limit", "cursor"])?;
    parameters::require_json_accepted(&request)?;
    let limit = query.limit(&app.config.http)?;
    let after = query.parse::<Digest>("cursor", "a cursor here is a digest")?;
    let mut items = running
        .log
        .state(|state| views::datasets(state, after, limit.saturating_add(1)));
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next = last.map(|dataset| dataset.digest.clone());
    Ok(HttpResponse::Ok().json(DatasetPage { items, next }))
}

/// One stored table: types, missing values, constant and collinear columns.
#[utoipa::path(
    get, path = "/api/v1/datasets/{digest}", tag = "data", operation_id = "dataset",
    params(("digest" = String, Path, description = "The hash of its bytes", pattern = "^[0-9a-f]{64}$")),
    responses(
        (status = 200, description = "Its profile", body = DatasetProfile),
        super::openapi::Problems,
    ),
)]
pub(crate) async fn show(
    app: Data<App>,
    request: HttpRequest,
    digest: Path<String>,
) -> Result<HttpResponse, Problem> {
    app.running()?;
    Query::read(&request, &[])?;
    parameters::require_json_accepted(&request)?;
    let missing = || {
        let detail = format!("there is no dataset '{digest}'");
        Problem::new(&error::NOT_FOUND, detail).field("path.digest")
    };
    let wanted = digest.parse::<Digest>();
    let wanted = wanted.map_err(|_| missing().hint(DIGEST_HINT.to_owned()))?;
    let found = blocking(&app, move |running| {
        let view = |state: &State| {
            let meta = state.dataset(wanted)?;
            Some(views::dataset(wanted, meta))
        };
        let Some(dataset) = running.log.state(view) else {
            return Ok(None);
        };
        let bytes = running.vault.dataset(running.log.blobs(), wanted)?;
        let profile = Table::parse(&bytes, &Limits::default())?.profile();
        Ok(Some(DatasetProfile { dataset, profile }))
    })
    .await?;
    found
        .map(|profile| HttpResponse::Ok().json(profile))
        .ok_or_else(missing)
}
