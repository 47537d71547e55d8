//! How long to wait before a request is sent again.

use std::time::Duration;

use super::policy::RetryPolicy;

/// The wait after this many tries: doubled each time, at most `max`, and `jitter` of it random, so that a fleet does not knock
/// in step.
pub(super) fn wait(policy: &RetryPolicy, tries: u32) -> Duration {
    let doubled = policy.base.saturating_mul(
        1u32.checked_shl(tries.saturating_sub(1))
            .unwrap_or(u32::MAX),
    );
    // The last bits of a UUIDv7 are random, and it is at hand.
    let random = f64::from(uuid::Uuid::now_v7().as_u128() as u32) / f64::from(u32::MAX);
    doubled
        .min(policy.max)
        .mul_f64(1.0 - policy.jitter * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy {
            jitter: 0.0,
            ..RetryPolicy::default()
        };
        let waits: Vec<_> = [1, 2, 3, 9, 60]
            .map(|tries| wait(&policy, tries).as_millis())
            .into();
        assert_eq!(waits, [100, 200, 400, 8000, 8000]);
    }

    #[test]
    fn jitter_only_shortens() {
        let policy = RetryPolicy::default();
        for _ in 0..100 {
            let wait = wait(&policy, 1).as_millis();
            assert!((70..=100).contains(&wait), "{wait}");
        }
    }
}
