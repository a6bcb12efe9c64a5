//! How often one address may try keys that were not proved before.

use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::Denied;

/// Addresses told apart at once; further ones share what is left.
const ADDRESSES_MAX: usize = 4_096;

pub(super) struct Attempts {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    clock: DefaultClock,
}

impl Attempts {
    pub(super) fn new(per_minute: u32) -> Self {
        let per_minute = NonZeroU32::new(per_minute).unwrap_or(NonZeroU32::MIN);
        Self {
            limiter: RateLimiter::keyed(Quota::per_minute(per_minute)),
            clock: DefaultClock::default(),
        }
    }

    /// Counts one attempt from this address.
    pub(super) fn take(&self, from: Option<IpAddr>) -> Result<(), Denied> {
        let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let mut whose = from.unwrap_or(unknown);
        if self.limiter.len() >= ADDRESSES_MAX {
            self.limiter.retain_recent();
            if self.limiter.len() >= ADDRESSES_MAX {
                whose = unknown;
            }
        }
        self.limiter.check_key(&whose).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now());
            Denied::TooMany {
                retry_after_seconds: wait.as_secs() + 1,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_attempts_and_no_more() {
        let attempts = Attempts::new(3);
        let one = Some(IpAddr::from([10, 0, 0, 1]));
        for _ in 0..3 {
            assert_eq!(attempts.take(one), Ok(()));
        }
        let refused = attempts.take(one);
        assert!(
            matches!(refused, Err(Denied::TooMany { .. })),
            "{refused:?}"
        );
        assert_eq!(attempts.take(Some(IpAddr::from([10, 0, 0, 2]))), Ok(()));
    }
}
