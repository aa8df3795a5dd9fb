//! Headers that tell a service who its visitor is. Those ends of a tunnel that
//! know say so (`protocol.md` 13.1); what a visitor says himself is renamed to
//! `X-Old-...`, so that nobody believes it.

/// Put before the name of a header that is not to be believed.
pub(crate) const OLD: &[u8] = b"X-Old-";

/// Headers that only the agent may send.
pub(crate) const AGENTS: [&str; 6] = [
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-PageKite-For",
    "X-PageKite-Proto",
    "X-PageKite-Port",
];

/// Headers that other proxies send in the place of the agent's: nobody sends
/// them here, and services that know them believe them.
#[cfg(feature = "relay")]
pub(crate) const PROXIES: [&str; 3] = ["X-Forwarded-Host", "X-Real-IP", "Forwarded"];

/// Whether a header of this name would pass for one of `ours`. Services that
/// hand headers on as CGI variables cannot tell `_` from `-`, so
/// `X_Forwarded_For` would.
pub(crate) fn is_in(name: &[u8], ours: &[&str]) -> bool {
    let same = |(given, ours): (&u8, u8)| match given {
        b'_' => ours == b'-',
        given => given.eq_ignore_ascii_case(&ours),
    };
    ours.iter().any(|ours| name.len() == ours.len() && name.iter().zip(ours.bytes()).all(same))
}

/// Whether a visitor has no business to send a header of this name.
#[cfg(feature = "relay")]
pub(crate) fn is_forged(name: &[u8]) -> bool {
    is_in(name, &AGENTS) || is_in(name, &PROXIES)
}

#[cfg(all(test, feature = "relay"))]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_every_spelling_that_a_service_may_read() {
        for name in ["X-Forwarded-For", "x_forwarded-FOR", "FORWARDED", "X_Real_IP"] {
            assert!(is_forged(name.as_bytes()), "{name}");
        }
        for name in ["", "X-Old-Forwarded", "X-Forwarded-Fo", "XXForwarded-For", "X-Real-IPs"] {
            assert!(!is_forged(name.as_bytes()), "{name}");
        }
    }
}
