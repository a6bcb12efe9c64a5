//! Something that there is so much of.

use serde::Serialize;
use utoipa::ToSchema;

/// The share of a resource that shall not be used.
pub(super) const FULL_SHARE: f64 = 0.8;
/// The share from which on it is said that this comes near.
pub const WARN_SHARE: f64 = 0.7;

/// How near a resource is to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// From 70 % on: before it is 80 %.
    Warn,
    /// From 80 % on.
    Over,
}

/// A resource and how much of it is used.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Resource {
    pub name: &'static str,
    /// Such as bytes, or percent.
    pub unit: &'static str,
    pub used: f64,
    /// Null where there is no limit.
    pub limit: Option<f64>,
    /// From 0 to 1; null where there is no limit.
    pub share: Option<f64>,
    /// What may come until 80 % are used; 0 beyond that.
    pub headroom: Option<f64>,
    pub level: Level,
}

impl Resource {
    /// A resource of which so much is used.
    #[must_use]
    pub fn new(name: &'static str, unit: &'static str, used: f64, limit: Option<f64>) -> Self {
        let limit = limit.filter(|limit| *limit > 0.0);
        let share = limit.map(|limit| used / limit);
        let level = match share {
            Some(share) if share >= FULL_SHARE => Level::Over,
            Some(share) if share >= WARN_SHARE => Level::Warn,
            Some(_) | None => Level::Ok,
        };
        Self {
            name,
            unit,
            used,
            limit,
            share,
            headroom: limit.map(|limit| (limit * FULL_SHARE - used).max(0.0)),
            level,
        }
    }

    /// The same, which may be full without harm.
    #[must_use]
    pub fn harmless(self) -> Self {
        Self {
            level: Level::Ok,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_comes_before_four_fifths() {
        let level = |used: f64| Resource::new("disk", "bytes", used, Some(100.0)).level;
        assert_eq!(
            [69.9, 70.0, 79.9, 80.0, 200.0].map(level),
            [
                Level::Ok,
                Level::Warn,
                Level::Warn,
                Level::Over,
                Level::Over
            ]
        );
        let some = Resource::new("disk", "bytes", 50.0, Some(100.0));
        assert_eq!((some.share, some.headroom), (Some(0.5), Some(30.0)));
        let full = Resource::new("disk", "bytes", 90.0, Some(100.0));
        assert_eq!(full.headroom, Some(0.0));
        assert_eq!(full.harmless().level, Level::Ok);
        let endless = Resource::new("descriptors", "descriptors", 9.0, None);
        assert_eq!((endless.share, endless.level), (None, Level::Ok));
    }
}
