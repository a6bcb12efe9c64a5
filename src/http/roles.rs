//! What each route needs. There is one row for each route, and a test walks the OpenAPI document
//! to see that none is missing; a route without a row needs an admin.

use crate::access::Role;

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Everybody, also without a key: probes, and texts that are the same on every server.
    Public,
    Role(Role),
}

const PUBLIC: Need = Need::Public;
const VIEWER: Need = Need::Role(Role::Viewer);
const OPERATOR: Need = Need::Role(Role::Operator);
const ADMIN: Need = Need::Role(Role::Admin);

/// Method, template, and who may. HEAD is a GET.
const TABLE: &[(&str, &str, Need)] = &[
    ("POST", "/api/v1/causal/discover", OPERATOR),
    ("POST", "/api/v1/causal/validate", OPERATOR),
    ("POST", "/api/v1/causal/paths", OPERATOR),
    ("GET", "/", PUBLIC),
    ("GET", "/docs", PUBLIC),
    ("GET", "/openapi.json", PUBLIC),
    ("GET", "/health/live", PUBLIC),
    ("GET", "/health/ready", PUBLIC),
    ("GET", "/health/startup", PUBLIC),
    ("GET", "/-/healthy", PUBLIC),
    ("GET", "/-/ready", PUBLIC),
    ("POST", "/-/reload", ADMIN),
    ("POST", "/-/quit", ADMIN),
    ("POST", "/-/logs/rotate", ADMIN),
    ("POST", "/-/snapshot", OPERATOR),
    ("GET", "/health", VIEWER),
    ("GET", "/health/services", VIEWER),
    ("GET", "/health/circuit-breakers", VIEWER),
    ("POST", "/health/circuit-breakers/{name}", OPERATOR),
    ("GET", "/api/v1/breakers", VIEWER),
    ("GET", "/api/v1/breakers/{name}", VIEWER),
    ("GET", "/api/v1/breakers/{name}/history", VIEWER),
    ("POST", "/api/v1/breakers/{name}/simulate", OPERATOR),
    ("GET", "/api/v1/slo", VIEWER),
    ("GET", "/api/v1/slo/{name}", VIEWER),
    ("GET", "/metrics", VIEWER),
    ("GET", "/model-metrics", VIEWER),
    ("GET", "/cache/stats", VIEWER),
    ("GET", "/cache/cacheable-report", VIEWER),
    ("POST", "/cache/cacheable-report", OPERATOR),
    ("POST", "/cache/{name}/invalidate", OPERATOR),
    ("POST", "/cache/{name}/warm", OPERATOR),
    ("PATCH", "/cache/{name}", OPERATOR),
    ("GET", "/debug/actors", VIEWER),
    ("GET", "/debug/memory", VIEWER),
    ("GET", "/debug/config", VIEWER),
    ("GET", "/debug/traces", VIEWER),
    ("POST", "/debug/profile", OPERATOR),
    ("GET", "/api/v1/datasets", VIEWER),
    ("POST", "/api/v1/datasets", OPERATOR),
    ("GET", "/api/v1/datasets/{digest}", VIEWER),
    ("GET", "/api/v1/experiments", VIEWER),
    ("POST", "/api/v1/experiments", OPERATOR),
    ("GET", "/api/experiments/stats", VIEWER),
    ("GET", "/api/v1/experiments/stats", VIEWER),
    ("GET", "/api/v1/experiments/{id}", VIEWER),
    ("POST", "/api/v1/experiments/{id}/cancel", OPERATOR),
    ("GET", "/api/v1/runs", VIEWER),
    ("GET", "/api/v1/runs/{id}", VIEWER),
    ("POST", "/api/v1/runs/{id}/cancel", OPERATOR),
    ("GET", "/api/v1/runs/{id}/events", VIEWER),
    ("GET", "/api/v1/events", VIEWER),
    ("GET", "/api/v1/events/{sequence}", VIEWER),
    ("GET", "/api/v1/state/all", VIEWER),
    ("GET", "/api/v1/state/all/diff", VIEWER),
    ("GET", "/api/v1/state/{kind}/{id}", VIEWER),
    ("GET", "/api/v1/state/{kind}/{id}/diff", VIEWER),
    ("GET", "/api/v1/provenance/{id}", VIEWER),
    ("POST", "/api/v1/whatif", OPERATOR),
    ("GET", "/api/v1/backups", VIEWER),
    ("POST", "/api/v1/backups", OPERATOR),
    ("GET", "/api/v1/backups/{id}", VIEWER),
    ("POST", "/api/v1/backups/{id}/verify", OPERATOR),
    ("GET", "/api/v1/drills", VIEWER),
    ("POST", "/api/v1/drills", OPERATOR),
    ("POST", "/api/v1/restore", ADMIN),
    ("GET", "/api/v1/vaults/{name}/objects", OPERATOR),
    // As it stands in the document, and as the router has it: the name goes to the end of the path.
    ("GET", "/api/v1/vaults/{name}/objects/{object}", OPERATOR),
    ("PUT", "/api/v1/vaults/{name}/objects/{object}", OPERATOR),
    ("DELETE", "/api/v1/vaults/{name}/objects/{object}", OPERATOR),
    ("GET", "/api/v1/vaults/{name}/objects/{object}*", OPERATOR),
    ("PUT", "/api/v1/vaults/{name}/objects/{object}*", OPERATOR),
    (
        "DELETE",
        "/api/v1/vaults/{name}/objects/{object}*",
        OPERATOR,
    ),
    ("POST", "/api/v1/redactions", ADMIN),
    ("GET", "/api/v1/capacity", VIEWER),
    ("POST", "/api/v1/capacity/measurements", OPERATOR),
    ("GET", "/api/v1/keys", ADMIN),
    ("POST", "/api/v1/keys", ADMIN),
    ("POST", "/api/v1/keys/{name}/revoke", ADMIN),
];

/// What a request to this route needs. Where nothing is, nobody has to prove anything to hear so.
pub(crate) fn need(method: &str, template: Option<&str>) -> Need {
    let Some(template) = template else {
        return Need::Public;
    };
    row(method, template).unwrap_or(ADMIN)
}

fn row(method: &str, template: &str) -> Option<Need> {
    let method = if method == "HEAD" { "GET" } else { method };
    let mut rows = TABLE.iter();
    let found = rows.find(|(known, route, _)| *known == method && *route == template);
    found.map(|(.., need)| *need)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_of_the_trail_is_that_of_a_route() {
        for (route, verb) in crate::http::audit::VERBS {
            let (method, template) = route.split_once(' ').expect("a method and a route");
            assert!(row(method, template).is_some(), "{verb}: {route}");
        }
    }

    #[test]
    fn every_route_of_the_openapi_document_has_a_row() {
        let document = crate::http::openapi_document();
        let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
        let mut missing = Vec::new();
        let mut routes = 0;
        for (path, methods) in document["paths"].as_object().expect("paths") {
            for method in methods.as_object().expect("methods").keys() {
                routes += 1;
                if row(&method.to_uppercase(), path).is_none() {
                    missing.push(format!("{method} {path}"));
                }
            }
        }
        assert_eq!(
            missing,
            Vec::<String>::new(),
            "add a row to src/http/roles.rs"
        );
        assert!(routes > 30);
    }

    #[test]
    fn what_changes_something_is_for_nobody_and_not_for_viewers() {
        for (method, route, need) in TABLE {
            let changes = *method != "GET";
            let weak = matches!(need, Need::Public | Need::Role(Role::Viewer));
            assert!(!(changes && weak), "{method} {route}");
        }
        assert_eq!(need("POST", Some("/new")), ADMIN);
        assert_eq!(need("HEAD", Some("/metrics")), VIEWER);
        assert_eq!(need("GET", None), Need::Public);
    }
}
