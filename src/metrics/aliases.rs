//! Names under which dashboards and alerts of other systems look for what is measured here. An
//! alias has no value of its own: it is written from the values of the family that it stands for,
//! at the same moment, so the two never differ. A family that is registered under an alias' name
//! takes the place of the alias.

/// One other name.
#[derive(Debug)]
pub struct Alias {
    pub name: &'static str,
    /// The family whose values it shows.
    pub of: &'static str,
    /// A label that has another name there: ours, theirs.
    pub rename: Option<(&'static str, &'static str)>,
    /// What becomes of a value.
    pub value: fn(f64) -> f64,
}

/// Every alias.
pub const ALIASES: &[Alias] = &[
    same("cache_hit_rate", "cache_hit_ratio"),
    same("isl_cache_hit_rate", "cache_hit_ratio"),
    same("isl_cache_size", "cache_entries"),
    same("isl_cache_evictions_total", "cache_evictions_total"),
    same("container_restarts", "component_restarts_total"),
    same("isl_service_health_status", "service_health_status"),
    same("isl_fallback_triggered_total", "fallback_triggered_total"),
    Alias {
        value: closed_half_open,
        ..same("isl_circuit_breaker_state", "circuit_breaker_state")
    },
    Alias {
        rename: Some(("kind", "model")),
        ..same(
            "model_inference_duration_seconds",
            "causal_computation_duration_seconds",
        )
    },
];

const fn same(name: &'static str, of: &'static str) -> Alias {
    Alias {
        name,
        of,
        rename: None,
        value: unchanged,
    }
}

fn unchanged(value: f64) -> f64 {
    value
}

/// The older name knows closed, half-open and open only: forced open is open, disabled lets
/// everything through as closed does.
fn closed_half_open(state: f64) -> f64 {
    if state >= 4.0 { 0.0 } else { state.min(2.0) }
}
