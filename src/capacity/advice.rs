//! When a larger machine is wanted, and when one machine is not enough.

use serde::Serialize;
use utoipa::ToSchema;

use super::bottleneck::Kind;
use super::measured::Measurement;
use super::resource::FULL_SHARE;
use super::window::Usage;

/// Users at once that a machine of two processors is taken to bear until something was measured.
const USERS: f64 = 50.0;
/// Users from which on one machine is taken to be not enough until something was measured.
const USERS_OF_ONE: f64 = 100.0;
/// Seconds.
const P95_S: f64 = 1.0;
/// Processors beyond which a machine is not advised to grow.
const CORES_LARGE: u32 = 64;

/// Whether to grow, and how.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Advice {
    pub scale_up: bool,
    pub scale_up_reasons: Vec<String>,
    pub scale_out: bool,
    pub scale_out_reasons: Vec<String>,
    /// What there is to know of either.
    pub notes: Vec<String>,
}

/// Users that this build was measured to bear on a machine of so many processors, without breaking.
fn borne(measured: &[Measurement], cores: u32) -> Option<u32> {
    let of_this = measured
        .iter()
        .filter(|one| one.this_build && one.cores == cores);
    let users = of_this.map(|one| match &one.breaking_point {
        Some(point) => point.users.saturating_sub(1),
        None => one.users,
    });
    users.max()
}

/// Judges what is used on a machine of so many processors against what was measured.
#[must_use]
pub fn advice(
    usage: Option<&Usage>,
    memory_share: Option<f64>,
    (binds, cores): (Kind, u32),
    measured: &[Measurement],
) -> Advice {
    let borne = borne(measured, cores);
    let users_max = borne.map_or(USERS, f64::from);
    let mut up = Vec::new();
    if let Some(used) = usage {
        if used.connections > users_max {
            up.push(format!(
                "{:.0} connections over the last {:.0} s, {}",
                used.connections,
                used.seconds,
                match borne {
                    Some(users) => format!("and {users} users were measured to be borne"),
                    None => format!("over {USERS:.0} users, and nothing was measured"),
                }
            ));
        }
        if let Some(p95) = used.p95_s.filter(|p95| *p95 > P95_S) {
            up.push(format!(
                "P95 of requests for work is {p95:.2} s, over {P95_S:.0} s"
            ));
        }
    }
    if let Some(share) = memory_share.filter(|share| *share > FULL_SHARE) {
        up.push(format!("{:.0} % of the memory are used", share * 100.0));
    }
    let mut out = Vec::new();
    if let Some(used) = usage {
        let users_of_one = borne.map_or(USERS_OF_ONE, |users| f64::from(users) * 2.0);
        if used.connections > users_of_one {
            out.push(format!(
                "{:.0} connections, over {users_of_one:.0}",
                used.connections
            ));
        }
        if binds == Kind::Cpu && cores >= CORES_LARGE {
            out.push(format!(
                "the processors bind, and {cores} of them are as large as a machine should be"
            ));
        }
    }
    let mut notes = vec![
        "one server owns one log, and a log is written by one process: scaling out means servers with \
         data directories of their own, each for some of the users"
            .to_owned(),
        "a server that has to outlive its machine wants a second one: continuous backups ship the log, \
         and `hindcast restore` takes it over"
            .to_owned(),
    ];
    if borne.is_none() {
        notes.push(format!(
            "nothing was measured of this build with {cores} processors: `hindcast load ramp --record` does it"
        ));
    }
    Advice {
        scale_up: !up.is_empty(),
        scale_up_reasons: up,
        scale_out: !out.is_empty(),
        scale_out_reasons: out,
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::super::measured::tests::measurement;
    use super::*;

    fn usage(connections: f64, p95_s: Option<f64>) -> Usage {
        Usage {
            seconds: 300.0,
            cpu_share: Some(0.5),
            process_cores: 1.0,
            process_share: Some(0.5),
            waiting_share: None,
            sync_share: 0.1,
            network_bytes_per_s: 0.0,
            connections,
            requests_per_s: 100.0,
            p95_s,
        }
    }

    fn judged(connections: f64, p95_s: Option<f64>, measured: &[Measurement]) -> Advice {
        let used = usage(connections, p95_s);
        advice(Some(&used), Some(0.5), (Kind::None, 2), measured)
    }

    #[test]
    fn without_a_measurement_the_limits_are_fifty_and_a_hundred_users() {
        let quiet = judged(50.0, Some(1.0), &[]);
        assert!(!quiet.scale_up && !quiet.scale_out);
        assert!(quiet.notes.iter().any(|note| note.contains("--record")));
        let busy = judged(51.0, None, &[]);
        assert!(busy.scale_up && !busy.scale_out, "{busy:?}");
        assert!(judged(101.0, None, &[]).scale_out);
        assert!(judged(1.0, Some(1.01), &[]).scale_up);
        let full = advice(None, Some(0.81), (Kind::Memory, 2), &[]);
        assert!(full.scale_up_reasons[0].starts_with("81 %"));
        let large = advice(Some(&usage(1.0, None)), None, (Kind::Cpu, 64), &[]);
        assert!(large.scale_out);
    }

    #[test]
    fn what_was_measured_takes_their_place() {
        let mut held = measurement("sustained", 500);
        assert!(!judged(400.0, None, std::slice::from_ref(&held)).scale_up);
        assert!(judged(501.0, None, std::slice::from_ref(&held)).scale_up);
        held.cores = 8;
        assert!(judged(400.0, None, std::slice::from_ref(&held)).scale_up);
        let mut broke = measurement("ramp", 900);
        if let Some(point) = &mut broke.breaking_point {
            point.users = 300;
        } else {
            broke.breaking_point = Some(super::super::measured::BreakingView {
                rule: "latency".to_owned(),
                users: 300,
                after_s: 30.0,
            });
        }
        assert!(judged(300.0, None, std::slice::from_ref(&broke)).scale_up);
        assert!(!judged(299.0, None, &[broke]).scale_up);
    }
}
