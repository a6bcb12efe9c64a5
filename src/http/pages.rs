//! The pages that people read: the landing page, the documentation of the interface, and the
//! document that it is drawn from. They load nothing from any network.

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS};
use actix_web::web::Data;

use super::App;

const LANDING: &str = include_str!("../../web/index.html");
const DOCS: &str = include_str!("../../web/docs.html");
/// Nothing but what the page itself holds, and requests to this server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

fn page(text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(text)
}

pub(crate) async fn landing() -> HttpResponse {
    page(LANDING)
}

pub(crate) async fn docs() -> HttpResponse {
    page(DOCS)
}

pub(crate) async fn openapi(app: Data<App>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(app.openapi.clone())
}
