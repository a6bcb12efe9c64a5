//! How many requests each principal may send. Health and probes do not count.

use std::net::IpAddr;
use std::num::NonZeroU32;

use actix_web::HttpMessage;
use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use hindcast_model::Name16;

use super::error::{self, Problem};
use crate::access::Principal;
use crate::config::{Config, OverloadConfig};

/// Principals and addresses told apart at once; further ones share what is left.
const SENDERS_MAX: usize = 8_192;
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// Whose requests are counted together: those of one principal, or of one address where nobody
/// proves anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sender {
    Principal(Name16),
    Address(IpAddr),
    Others,
}

type Limiter =
    RateLimiter<Sender, DefaultKeyedStateStore<Sender>, DefaultClock, StateInformationMiddleware>;

/// The limit for each principal.
pub(crate) struct Rates {
    limiter: Limiter,
    clock: DefaultClock,
    per_second: u32,
    burst: u32,
}

/// Requests that a principal may still send at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    requests: u32,
    per_second: u32,
    burst: u32,
}

impl Rates {
    /// None where nothing is limited.
    pub(crate) fn new(config: &Config) -> Option<Self> {
        let OverloadConfig {
            requests_per_second,
            requests_burst,
            limited_on_loopback,
            ..
        } = config.overload;
        if config.server.listen.ip().is_loopback() && !limited_on_loopback {
            return None;
        }
        let per_second = NonZeroU32::new(requests_per_second)?;
        metrics::counter!("rate_limited_total").increment(0);
        let burst = NonZeroU32::new(requests_burst.max(requests_per_second))?;
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Some(Self {
            limiter: RateLimiter::keyed(quota).with_middleware(),
            clock: DefaultClock::default(),
            per_second: per_second.get(),
            burst: burst.get(),
        })
    }

    /// Counts one request of this principal.
    pub(crate) fn take(
        &self,
        request: &ServiceRequest,
        principal: &Principal,
    ) -> Result<Left, Problem> {
        let address = request.peer_addr().map(|address| address.ip());
        let mut whose = match (&principal.key, address) {
            (Some(_), _) => Sender::Principal(principal.name),
            (None, Some(address)) => Sender::Address(address),
            (None, None) => Sender::Others,
        };
        if self.limiter.len() >= SENDERS_MAX {
            self.limiter.retain_recent();
            if self.limiter.len() >= SENDERS_MAX {
                whose = Sender::Others;
            }
        }
        let left = |requests| Left {
            requests,
            per_second: self.per_second,
            burst: self.burst,
        };
        match self.limiter.check_key(&whose) {
            Ok(state) => Ok(left(state.remaining_burst_capacity())),
            Err(until) => {
                metrics::counter!("rate_limited_total").increment(1);
                request.extensions_mut().insert(left(0));
                let wait = until.wait_time_from(self.clock.now());
                let detail = format!(
                    "{} may send {} requests a second, and {} at once",
                    principal.name, self.per_second, self.burst
                );
                Err(Problem::new(&error::RATE_LIMITED, detail)
                    .limit(self.per_second.into())
                    .retry_after(wait.as_secs() + 1))
            }
        }
    }
}

impl Left {
    /// The headers of draft-ietf-httpapi-ratelimit-headers.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        let Self {
            requests,
            per_second,
            burst,
        } = self;
        let window = burst.div_ceil(per_second);
        let policy = format!("\"principal\";q={burst};w={window}");
        let left = format!("\"principal\";r={requests};t={window}");
        for (name, text) in [(POLICY, policy), (LEFT, left)] {
            let value = HeaderValue::from_str(&text).expect("digits and punctuation");
            headers.insert(name, value);
        }
    }
}
