//! Asking others whether a kite may fly (`protocol.md` 14): a DNS service that
//! checks the signature itself, or a program that tells us the secret.
//!
//! Whatever goes wrong on the way, the kite stays down: an authority that is
//! away, or kept away by an attacker, opens no door. (The reference lets in
//! everybody then, and also whoever the authority calls unknown.)
//!
//! [`choose`], [`question_name`] and the readers of answers are pure; the
//! [`Asker`] does the waiting.

mod answer;
mod asker;
mod failure;
mod lookup;
mod message;
mod name_servers;
mod program;
mod question;
mod verdict;

pub use asker::{Asker, MAX_WAITING, Patience};
pub use failure::Failure;
pub use message::{MAX_ALIASES, MAX_MESSAGE_BYTES, MAX_RECORDS, Reply, read_reply};
pub use program::MAX_OUTPUT_BYTES;
pub use question::{choose, question_name};

use std::time::Duration;

use crate::wire::{Quota, Secret};

/// How often a kite with a quota is asked about again while it flies
/// (`protocol.md` 14 and 16). Whoever holds the tunnel keeps this time and
/// calls [`Asker::ask`] again.
pub const RECHECK_INTERVAL: Duration = Duration::from_secs(900);
/// Longest reason of a refusal, in characters: `unauthorized` is the longest
/// one in use, and agents print it.
pub const MAX_REASON_CHARACTERS: usize = 32;

/// Reason for whoever may not fly, where the authority gives no other.
const UNAUTHORIZED: &str = "unauthorized";
/// Reason for whoever has used up what it may use.
const OVER_QUOTA: &str = "quota";
/// Reason for whoever does not know the secret.
const WRONG_SIGNATURE: &str = "signature";

/// What an authority says of a kite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// It may fly.
    Granted {
        /// What is left to use, each where it is bounded.
        quota: Quota,
        /// The kite's secret, where the authority told it. The request was
        /// signed with it.
        secret: Option<Secret>,
    },
    /// It may not, for this reason: one word of 1 to
    /// [`MAX_REASON_CHARACTERS`] printable characters.
    Refused(String),
    /// Nobody could say, so it may not fly either; for one that flies already
    /// this is no reason to come down.
    NoAnswer,
}

impl Ruling {
    fn refused(word: &str) -> Self {
        Self::Refused(word.to_owned())
    }
}

/// What an authority wrote as a reason, as one word that may stand in a header
/// and in a log line; `fallback` when it wrote nothing.
fn reason_word(text: &str, fallback: &str) -> String {
    let word: String = text
        .trim()
        .chars()
        .take(MAX_REASON_CHARACTERS)
        .map(|letter| match letter {
            // They separate the parts of the answer's line.
            ':' | ';' => '_',
            '!'..='~' => letter,
            _ => '_',
        })
        .collect();
    if word.is_empty() { fallback.to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_printable_word() {
        for (text, word) in [
            ("nodays", "nodays"),
            ("", "unauthorized"),
            (" \t\r\n", "unauthorized"),
            ("no such user\r\nX-PageKite-OK: x", "no_such_user__X-PageKite-OK__x"),
            ("a;b:c\u{7f}\u{e9}", "a_b_c__"),
        ] {
            assert_eq!(reason_word(text, UNAUTHORIZED), word, "{text:?}");
        }
        assert_eq!(reason_word(&"x".repeat(5000), "").len(), MAX_REASON_CHARACTERS);
    }
}
