//! How TLS to a relay is begun, and what is tried when a relay does not like
//! it.
//!
//! PageKite's own agents announce an `fe_certname` in clear before TLS
//! (`protocol.md` 2.2), and the relay that Debian ships is brought down, with
//! all its tunnels, by TLS that is not announced. So a configured name is
//! announced first and asked for by SNI second; without one it is the other
//! way round, since then nothing says that the relay is PageKite's own. What
//! worked is kept.

use super::{OpenFailure, Opening};

/// The choice for one relay.
#[derive(Clone, Copy, Debug)]
pub struct OpeningChoice {
    opening: Opening,
}

impl OpeningChoice {
    /// Before the first try; `has_names` when `fe_certname` is set.
    pub fn new(has_names: bool) -> Self {
        Self { opening: if has_names { Opening::ClearConnect } else { Opening::Direct } }
    }

    /// What to try now.
    pub fn opening(self) -> Opening {
        self.opening
    }

    /// Notes a failure; true when the other way is worth a try. A relay that
    /// was not reached says nothing about either.
    pub fn failed(&mut self, failure: &OpenFailure) -> bool {
        let turned_away = match self.opening {
            Opening::Direct => matches!(failure, OpenFailure::Alert(_) | OpenFailure::Closed),
            Opening::ClearConnect => {
                matches!(
                    failure,
                    // 503 is a PageKite relay that has no such certificate: it
                    // would have none for SNI either.
                    OpenFailure::ConnectRefused { status, .. } if *status != 503
                ) || matches!(
                    failure,
                    OpenFailure::ConnectGarbled
                        | OpenFailure::ConnectClosed
                        | OpenFailure::Alert(_)
                        | OpenFailure::Closed
                )
            }
        };
        if turned_away {
            self.opening = match self.opening {
                Opening::Direct => Opening::ClearConnect,
                Opening::ClearConnect => Opening::Direct,
            };
        }
        turned_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn unreachable() -> OpenFailure {
        OpenFailure::Io(io::ErrorKind::ConnectionRefused.into())
    }

    #[test]
    fn a_configured_name_is_announced_first() {
        assert_eq!(OpeningChoice::new(true).opening(), Opening::ClearConnect);
        assert_eq!(OpeningChoice::new(false).opening(), Opening::Direct);
    }

    #[test]
    fn a_relay_that_turns_tls_away_is_tried_the_other_way() {
        let mut choice = OpeningChoice::new(false);
        assert!(choice.failed(&OpenFailure::Closed));
        assert_eq!(choice.opening(), Opening::ClearConnect);
        assert!(choice.failed(&OpenFailure::ConnectClosed));
        assert_eq!(choice.opening(), Opening::Direct);
    }

    #[test]
    fn a_name_that_the_relay_does_not_have_is_not_tried_by_sni() {
        let refused = |status| {
            let (name, reason) = ("fe.test".to_owned(), String::new());
            OpeningChoice::new(true).failed(&OpenFailure::ConnectRefused { name, status, reason })
        };
        assert!(!refused(503));
        assert!(refused(400), "something else than a PageKite relay answers here");
    }

    /// Debian's relay goes down with the first try and is away for a while; the
    /// first way must not be tried again when it is back.
    #[test]
    fn a_relay_that_is_away_changes_nothing() {
        let mut choice = OpeningChoice::new(false);
        choice.failed(&OpenFailure::Closed);
        for _ in 0..5 {
            assert!(!choice.failed(&unreachable()));
            assert_eq!(choice.opening(), Opening::ClearConnect);
        }
    }
}
