//! Why a visitor was not connected. The errors of the way to a relay speak of
//! the options in an agent's files; a visitor has those of the command line.

use std::fmt;

use super::answer::Refusal;
use crate::config::RelayAddress;
use crate::net::{OpenError, TlsSetupError};

/// Options of an agent's files and what they are called on the command line.
const OPTIONS: [(&str, &str); 3] =
    [("fe_certname", "--relay-certname"), ("ca_certs", "--ca-certs"), ("nossl", "--plain")];

/// Why a visitor was not connected.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// A file or name of the command line cannot be used.
    Setup(TlsSetupError),
    /// There is no connection to the relay.
    Open {
        /// What happened.
        error: Box<OpenError>,
        /// Whether nobody named the relay.
        relay_is_guess: bool,
    },
    /// The relay refused.
    Refused(RelayAddress, Refusal),
    /// The relay ended the connection instead of answering.
    NoAnswer(RelayAddress),
    /// The relay did not answer in time.
    Timeout(RelayAddress),
    /// The connection was lost, or the local end of it; in words.
    Lost(String),
}

impl Failure {
    /// Whether the command line has to be mended, not the network.
    pub fn is_setup(&self) -> bool {
        matches!(self, Self::Setup(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => formatter.write_str(&with_our_options(&error.to_string())),
            Self::Open { error, relay_is_guess } => {
                formatter.write_str(&with_our_options(&error.to_string()))?;
                if *relay_is_guess {
                    formatter.write_str(
                        ". The kite's own name was taken for the relay's; if the relay has \
                         another, name it with --relay HOST[:PORT]",
                    )?;
                }
                Ok(())
            }
            Self::Refused(relay, refusal) => write!(formatter, "relay {relay}: {refusal}"),
            Self::NoAnswer(relay) => write!(
                formatter,
                "relay {relay}: it closed the connection without an answer; is it a PageKite \
                 relay, and are its visitors to use TLS (without --plain)?"
            ),
            Self::Timeout(relay) => {
                let seconds = super::ANSWER_TIMEOUT.as_secs();
                write!(formatter, "relay {relay}: no answer in {seconds} seconds")
            }
            Self::Lost(text) => formatter.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

/// Writes options as the command line has them.
fn with_our_options(text: &str) -> String {
    let mut text = text.to_owned();
    for (theirs, ours) in OPTIONS {
        text = text.replace(&format!("{theirs} = "), &format!("{ours} "));
        let words = text.split(' ').map(|word| {
            let bare = word.trim_end_matches([',', '.', ':', ';', ')']);
            if bare == theirs { word.replacen(theirs, ours, 1) } else { word.to_owned() }
        });
        text = words.collect::<Vec<_>>().join(" ");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{CertificateFault, CertificateProblem, OpenFailure};

    fn open(failure: OpenFailure, relay_is_guess: bool) -> String {
        let relay = RelayAddress { host: "nossl.example.com".into(), port: 443 };
        let error = Box::new(OpenError { relay, has_names: false, failure });
        Failure::Open { error, relay_is_guess }.to_string()
    }

    fn certificate(fault: CertificateFault) -> OpenFailure {
        let name = "box.example.com".to_owned();
        OpenFailure::Certificate(Box::new(CertificateProblem {
            fault,
            name,
            key_sha256: Some([0xab; 32]),
        }))
    }

    #[test]
    fn options_are_those_of_the_command_line() {
        for failure in [
            certificate(CertificateFault::UnknownIssuer),
            certificate(CertificateFault::WrongPin),
            certificate(CertificateFault::WrongName(vec!["relay.example.com".into()])),
            certificate(CertificateFault::WrongName(Vec::new())),
            certificate(CertificateFault::Other("odd".into())),
            OpenFailure::Name,
            OpenFailure::NotTls { http: true },
            OpenFailure::Closed,
            OpenFailure::ConnectRefused { name: "a.b".into(), status: 503, reason: "x".into() },
        ] {
            let text = open(failure, false);
            let rest = text.strip_prefix("relay nossl.example.com:443: ").expect("a relay");
            assert!(rest.contains("--relay-certname"), "{text}");
            for (theirs, _) in OPTIONS {
                assert!(!rest.contains(theirs), "{text}");
            }
        }
        let setup = Failure::Setup(TlsSetupError::Name("a b".into())).to_string();
        assert!(setup.starts_with("--relay-certname a b: write"), "{setup}");
    }

    #[test]
    fn a_guessed_relay_is_doubted() {
        let wrong = || certificate(CertificateFault::WrongName(vec!["relay.example.com".into()]));
        assert!(open(wrong(), true).contains("name it with --relay HOST[:PORT]"));
        assert!(!open(wrong(), false).contains("--relay HOST"));
    }
}
