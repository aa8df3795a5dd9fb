//! The time that certificates are checked at. Many small machines have no clock
//! that runs without power and start in 1970 or at the date of their firmware,
//! where every certificate is "not yet valid" and NTP may need the tunnel. So
//! time is never earlier than the build of this program, nor than what a relay
//! has proved before. Chains and names are checked as ever.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// When this source was released, 2026-11-25. Builds are reproducible, so the
/// time of the compiler's run must not get into them; packagers who set
/// `SOURCE_DATE_EPOCH` (reproducible-builds.org) give a later date.
const RELEASED: u32 = 1_795_564_800;
/// When this program was built, in Unix seconds.
pub const BUILT: u32 = built(option_env!("SOURCE_DATE_EPOCH"));
/// A floor that is later than this after the build, 5 years, is not believed: a
/// clock from the future that met a certificate of many years would end every
/// other one for good.
const MAX_SECONDS_AFTER_BUILD: u32 = 5 * 365 * 86_400;

/// The clock of this program.
pub static CERTIFICATE_CLOCK: CertificateClock = CertificateClock::new(BUILT, system_seconds);

/// The machine's clock with a floor.
#[derive(Debug)]
pub struct CertificateClock {
    /// Unix seconds, until 2106; MIPS has no larger atomic numbers.
    floor: AtomicU32,
    system: fn() -> u64,
}

impl CertificateClock {
    /// A clock that is never earlier than `floor` (Unix seconds) and otherwise
    /// what `system` says.
    pub const fn new(floor: u32, system: fn() -> u64) -> Self {
        Self { floor: AtomicU32::new(floor), system }
    }

    /// Raises the floor to the last good time that is remembered, in Unix
    /// seconds. One that is absurdly late is not believed.
    pub fn set_floor(&self, unix_seconds: u64) {
        let latest = BUILT.saturating_add(MAX_SECONDS_AFTER_BUILD);
        if let Some(floor) = u32::try_from(unix_seconds).ok().filter(|floor| *floor <= latest) {
            self.floor.fetch_max(floor, Ordering::Relaxed);
        }
    }

    /// The time to check certificates at, in Unix seconds.
    pub fn seconds(&self) -> u64 {
        (self.system)().max(self.floor.load(Ordering::Relaxed).into())
    }

    /// What the clock of the machine says, in Unix seconds.
    pub fn system_seconds(&self) -> u64 {
        (self.system)()
    }

    /// Whether the clock of the machine can be right at all.
    pub fn is_set(&self) -> bool {
        (self.system)() >= self.floor.load(Ordering::Relaxed).into()
    }
}

/// Whether the clock of this machine can be right; if not, rules by the time of
/// day have no meaning.
pub fn clock_is_set() -> bool {
    CERTIFICATE_CLOCK.is_set()
}

/// Gives [`CERTIFICATE_CLOCK`] or another one to the TLS library.
#[derive(Debug)]
pub(super) struct Provider(pub(super) &'static CertificateClock);

impl TimeProvider for Provider {
    fn current_time(&self) -> Option<UnixTime> {
        let since = std::time::Duration::from_secs(self.0.seconds());
        Some(UnixTime::since_unix_epoch(since))
    }
}

fn system_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Reads digits; whatever is no number, or earlier than the release, is the
/// release.
const fn built(source_date_epoch: Option<&str>) -> u32 {
    let Some(text) = source_date_epoch else { return RELEASED };
    match u32::from_str_radix(text, 10) {
        Ok(seconds) if seconds > RELEASED => seconds,
        _ => RELEASED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_never_before_the_floor() {
        let unset = CertificateClock::new(BUILT, || 86_400);
        assert!(!unset.is_set());
        assert_eq!(unset.seconds(), u64::from(BUILT));
        let later = u64::from(BUILT) + 1000;
        unset.set_floor(later);
        unset.set_floor(5);
        assert_eq!(unset.seconds(), later);
        assert_eq!(unset.system_seconds(), 86_400);
        unset.set_floor(u64::from(u32::MAX));
        unset.set_floor(u64::MAX);
        assert_eq!(unset.seconds(), later);

        let set = CertificateClock::new(BUILT, || 2_000_000_000);
        assert!(set.is_set());
        assert_eq!(set.seconds(), 2_000_000_000);
    }

    #[test]
    fn the_date_of_the_source_counts_if_it_is_later() {
        assert_eq!(built(None), RELEASED);
        assert_eq!(built(Some("1800000000")), 1_800_000_000);
        for text in ["", "0", "soon", "99999999999"] {
            assert_eq!(built(Some(text)), RELEASED);
        }
    }
}
