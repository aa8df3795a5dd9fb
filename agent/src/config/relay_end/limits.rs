//! What one of many may use: numbers, rates and quotas of a relay.

use std::ops::RangeInclusive;

use super::super::options::RelayAction;
use super::super::relay_settings::{KiteQuota, Rate, RelayLimits};
use super::super::resolve::{
    DEFAULT_MAX_STREAMS, DEFAULT_RELAY_KEEPALIVE_SECONDS, MAX_BUFFER_KILOBYTES, MAX_MAX_STREAMS,
    MIN_BUFFER_KILOBYTES, keepalive, number,
};
use super::table::OwnAction;

/// Visitors at the same time when `max_visitors` is not set: some 300 MB with
/// full buffers of the kernel, and within the descriptors of a service.
pub const DEFAULT_MAX_VISITORS: usize = 10_000;
/// Tunnels at the same time when `max_tunnels` is not set.
pub const DEFAULT_MAX_TUNNELS: usize = 10_000;
/// Kites of one tunnel when `max_kites` is not set.
pub const DEFAULT_MAX_KITES: usize = 100;
/// Connections of one address when `max_connections` is not set: many people
/// behind one NAT, and few enough that no one address can take all places.
pub const DEFAULT_MAX_CONNECTIONS: usize = 200;
/// Kilobytes of a tunnel for slow visitors when `buffers` is not set: more than
/// [`DEFAULT_MAX_CONNECTIONS`] who read nothing can fill, since an agent sends 48
/// KB on a stream before its visitor has to take some, so that no one address
/// can hold up a kite.
pub const DEFAULT_RELAY_BUFFER_KILOBYTES: usize = 16 * 1024;
/// Most that any of these may be.
pub const MAX_CONNECTION_LIMIT: usize = 1_000_000;
/// Failed handshakes of one address when `ratelimit_auth` is not set.
pub const DEFAULT_RATELIMIT_AUTH: Rate = Rate { count: 20, seconds: 60 };
/// Longest time of a rate: a day.
pub const MAX_RATE_SECONDS: u32 = 86_400;
/// Seconds that a stop waits when `stop_timeout` is not set; systemd kills
/// after 90.
pub const DEFAULT_STOP_SECONDS: u32 = 30;
/// Most that `stop_timeout` may be.
pub const MAX_STOP_SECONDS: u32 = 3600;

/// The lines so far.
#[derive(Debug)]
pub(super) struct LimitLines {
    pub(super) limits: RelayLimits,
    pub(super) keepalive_seconds: u32,
    pub(super) buffer_kilobytes: usize,
    pub(super) compress: bool,
    pub(super) stop_seconds: u32,
}

impl Default for RelayLimits {
    fn default() -> Self {
        Self {
            max_visitors: DEFAULT_MAX_VISITORS,
            max_tunnels: DEFAULT_MAX_TUNNELS,
            max_kites: DEFAULT_MAX_KITES,
            max_streams: DEFAULT_MAX_STREAMS,
            max_connections: DEFAULT_MAX_CONNECTIONS,
            // A proxy or the NAT of a mobile network brings thousands of people
            // from one address; how many stay is bounded anyway.
            connection_rate: None,
            address_rate: None,
            failure_rate: DEFAULT_RATELIMIT_AUTH,
            quota: KiteQuota::default(),
        }
    }
}

impl Default for LimitLines {
    fn default() -> Self {
        Self {
            limits: RelayLimits::default(),
            keepalive_seconds: DEFAULT_RELAY_KEEPALIVE_SECONDS,
            buffer_kilobytes: DEFAULT_RELAY_BUFFER_KILOBYTES,
            compress: false,
            stop_seconds: DEFAULT_STOP_SECONDS,
        }
    }
}

impl LimitLines {
    /// Options of both programs; a doubt is what to tell the user. `None` is an
    /// option that is no limit.
    pub(super) fn set(
        &mut self,
        action: RelayAction,
        value: &str,
    ) -> Option<Result<Option<String>, String>> {
        let mut doubt = None;
        let done = match action {
            RelayAction::MaxStreams => number(value, 1..=MAX_MAX_STREAMS, "streams")
                .map(|count| self.limits.max_streams = count),
            RelayAction::Buffers => {
                let range = MIN_BUFFER_KILOBYTES..=MAX_BUFFER_KILOBYTES;
                number(value, range, "kilobytes").map(|count| self.buffer_kilobytes = count)
            }
            RelayAction::KeepAlive => {
                keepalive(value, DEFAULT_RELAY_KEEPALIVE_SECONDS).map(|(seconds, text)| {
                    self.keepalive_seconds = seconds;
                    doubt = text;
                })
            }
            RelayAction::Compress(on) => {
                self.compress = on;
                Ok(())
            }
            RelayAction::AddressRate => {
                optional_rate(value).map(|rate| self.limits.address_rate = rate)
            }
            RelayAction::Own(action) => self.set_own(action, value)?,
            _ => return None,
        };
        Some(done.map(|()| doubt))
    }

    fn set_own(&mut self, action: OwnAction, value: &str) -> Option<Result<(), String>> {
        const MANY: RangeInclusive<usize> = 1..=MAX_CONNECTION_LIMIT;
        let limits = &mut self.limits;
        Some(match action {
            OwnAction::MaxVisitors => {
                number(value, MANY, "visitors").map(|count| limits.max_visitors = count)
            }
            OwnAction::MaxTunnels => {
                number(value, MANY, "tunnels").map(|count| limits.max_tunnels = count)
            }
            OwnAction::MaxKites => {
                number(value, MANY, "kites").map(|count| limits.max_kites = count)
            }
            OwnAction::MaxConnections => {
                number(value, MANY, "connections").map(|count| limits.max_connections = count)
            }
            OwnAction::ConnectionRate => {
                optional_rate(value).map(|rate| limits.connection_rate = rate)
            }
            OwnAction::FailureRate => rate(value).map(|rate| limits.failure_rate = rate),
            OwnAction::QuotaBytes => {
                optional_quota(value, true).map(|quota| limits.quota.bytes_per_day = quota)
            }
            OwnAction::QuotaConnections => {
                optional_quota(value, false).map(|quota| limits.quota.connections_per_day = quota)
            }
            OwnAction::QuotaStreams => {
                optional_quota(value, false).map(|quota| limits.quota.streams = quota)
            }
            OwnAction::StopTimeout => {
                stop_timeout(value).map(|seconds| self.stop_seconds = seconds)
            }
            _ => return None,
        })
    }
}

fn stop_timeout(value: &str) -> Result<u32, String> {
    plain(value)
        .and_then(|seconds| u32::try_from(seconds).ok())
        .filter(|s| *s <= MAX_STOP_SECONDS)
        .ok_or_else(|| format!("is a number of seconds from 0 to {MAX_STOP_SECONDS}"))
}

/// Whether the value takes a limit away again.
fn is_none(value: &str) -> bool {
    value.is_empty() || value.eq_ignore_ascii_case("none")
}

fn optional_rate(value: &str) -> Result<Option<Rate>, String> {
    if is_none(value) { Ok(None) } else { rate(value).map(Some) }
}

fn optional_quota(value: &str, suffixes: bool) -> Result<Option<u64>, String> {
    if is_none(value) { Ok(None) } else { quota(value, suffixes).map(Some) }
}

/// Reads `N/SECONDS`.
fn rate(value: &str) -> Result<Rate, String> {
    if value.contains(':') {
        return Err(
            "a rate of one kite alone is not kept apart; write N/SECONDS, which holds for \
             each kite by itself"
                .into(),
        );
    }
    let parts = value.split_once('/').and_then(|(count, seconds)| {
        let count = u32::try_from(plain(count)?).ok()?;
        let seconds = u32::try_from(plain(seconds)?).ok()?;
        Some(Rate { count, seconds })
    });
    let bounded = parts.filter(|rate| {
        (1..=MAX_CONNECTION_LIMIT).contains(&(rate.count as usize))
            && (1..=MAX_RATE_SECONDS).contains(&rate.seconds)
    });
    bounded.ok_or_else(|| {
        format!(
            "is written N/SECONDS, such as 20/60, with N to {MAX_CONNECTION_LIMIT} and SECONDS to \
             {MAX_RATE_SECONDS}"
        )
    })
}

/// Reads a quota; with `suffixes`, `K`, `M`, `G` and `T` count in steps of 1024.
///
/// # Errors
/// How it is written.
pub(super) fn quota(value: &str, suffixes: bool) -> Result<u64, String> {
    let (digits, shift) = match value.chars().last().map(|last| last.to_ascii_uppercase()) {
        Some('K') if suffixes => (&value[..value.len() - 1], 10),
        Some('M') if suffixes => (&value[..value.len() - 1], 20),
        Some('G') if suffixes => (&value[..value.len() - 1], 30),
        Some('T') if suffixes => (&value[..value.len() - 1], 40),
        _ => (value, 0),
    };
    let number = plain(digits).and_then(|number| number.checked_mul(1 << shift));
    number.filter(|number| *number > 0).ok_or_else(|| {
        let text = if suffixes {
            "is a number of bytes in a day from 1 on, such as 500M or 10G"
        } else {
            "is a number from 1 on"
        };
        text.to_owned()
    })
}

/// Reads digits and nothing else.
fn plain(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes, settings, warnings};
    use super::*;

    #[test]
    fn numbers_rates_and_quotas_are_read() {
        let read = settings(
            "max_visitors = 5\nmax_tunnels=6\nmax_kites=7\nmax_streams=8\nmax_connections=9
            ratelimit_conns = 10/11\nratelimit_ips=12/13\nratelimit_auth=14/15\nquota_bytes=2k
            quota_conns=16\nquota_streams=17\nstop_timeout=0\nbuffers=64\nkeepalive=20\nzchunks",
        );
        let expected = RelayLimits {
            max_visitors: 5,
            max_tunnels: 6,
            max_kites: 7,
            max_streams: 8,
            max_connections: 9,
            connection_rate: Some(Rate { count: 10, seconds: 11 }),
            address_rate: Some(Rate { count: 12, seconds: 13 }),
            failure_rate: Rate { count: 14, seconds: 15 },
            quota: KiteQuota {
                bytes_per_day: Some(2048),
                connections_per_day: Some(16),
                streams: Some(17),
            },
        };
        assert_eq!(read.limits, expected);
        assert_eq!((read.stop_seconds, read.buffer_kilobytes), (0, 64));
        assert_eq!((read.keepalive_seconds, read.compress), (20, true));
    }

    #[test]
    fn none_takes_a_limit_away() {
        let read = settings("quota_bytes=1T\nquota_bytes=none\nratelimit_ips=1/1\nratelimit_ips=");
        assert_eq!(read.limits.quota, KiteQuota::default());
        assert_eq!(read.limits.address_rate, None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("max_visitors = 0", "is a number of visitors from 1 to 1000000"),
            ("max_connections = +1", "is a number of connections"),
            ("stop_timeout = 3601", "from 0 to 3600"),
            ("quota_bytes = 0", "such as 500M or 10G"),
            ("quota_bytes = K", "such as 500M or 10G"),
            ("quota_bytes = 5é", "such as 500M or 10G"),
            ("quota_bytes = 99999999T", "such as 500M or 10G"),
            ("quota_conns = 1K", "is a number from 1 on"),
            ("ratelimit_auth = none", "is written N/SECONDS"),
            ("ratelimit_auth = 0/60", "is written N/SECONDS"),
            ("ratelimit_conns = 1/86401", "is written N/SECONDS"),
            ("ratelimit_ips = a.b:5/60", "holds for each kite by itself"),
            ("keepalive = soon", "is auto, or a number"),
        ] {
            assert!(mistakes(text).contains(part), "{text}: {}", mistakes(text));
        }
        assert!(warnings("keepalive = 1").contains("20 seconds are the least"));
    }
}
