//! Why an authority gave no answer, in words for the owner of the relay.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

/// Why there is no answer. None of these texts holds what an agent or an
/// authority sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// So many questions wait already.
    Crowded(usize),
    /// The questions before this one took too long.
    Waited,
    /// The system gives no random numbers.
    Random,
    /// This name server did not answer in time.
    Silence(SocketAddr),
    /// This name server cannot be reached.
    Unreachable(SocketAddr, String),
    /// This name server answers with an error of this number (RFC 1035 section
    /// 4.1.1).
    Server(SocketAddr, u16),
    /// What this name server sends is no answer of DNS to the question.
    Garbage(SocketAddr),
    /// DNS knows no such name.
    NoName,
    /// The name has no address.
    NoAddress,
    /// The name has several addresses that mean different things.
    Contradiction,
    /// The answer has more records, or longer ones, than any authority needs.
    TooLarge,
    /// The name is an alias of an alias of an alias and so on.
    AliasLoop,
    /// The alias does not say what the kite may use.
    Alias,
    /// The program could not be started.
    Start(PathBuf, String),
    /// The program's output could not be read.
    Read(String),
    /// The program took too long.
    Slow,
    /// The program writes without an end.
    Endless,
    /// The program failed.
    Status(ExitStatus),
    /// The program did not write an object of JSON; why.
    Json(String),
    /// This key has a value of another kind than it should.
    Key(&'static str),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crowded(waiting) => {
                write!(formatter, "{waiting} questions wait already (see auththreads)")
            }
            Self::Waited => {
                formatter.write_str("the questions before this one take too long (see auththreads)")
            }
            Self::Random => formatter.write_str("the system gives no random numbers"),
            Self::Silence(server) => write!(
                formatter,
                "name server {server} does not answer (see nameserver or /etc/resolv.conf)"
            ),
            Self::Unreachable(server, error) => write!(
                formatter,
                "cannot reach name server {server}: {error} (see nameserver or /etc/resolv.conf)"
            ),
            Self::Server(server, code) => {
                let word = match code {
                    1 => "it cannot read the question",
                    2 => "it failed itself",
                    5 => "it does not serve us",
                    _ => "it cannot answer",
                };
                write!(formatter, "name server {server} answers that {word} (code {code})")
            }
            Self::Garbage(server) => {
                write!(formatter, "name server {server} sends something that is no answer of DNS")
            }
            Self::NoName => formatter
                .write_str("DNS knows no such name (is the domain of authdomain spelled right?)"),
            Self::NoAddress => formatter.write_str("DNS has no address for the question"),
            Self::Contradiction => {
                formatter.write_str("DNS has several addresses that contradict each other")
            }
            Self::TooLarge => formatter.write_str("the answer is too large for an authority's"),
            Self::AliasLoop => formatter.write_str("the answer is a ring of aliases"),
            Self::Alias => formatter.write_str(
                "the alias in the answer is not of the form REASON[-IPS-SECONDS].G.DAYS.CONNS",
            ),
            Self::Start(path, error) => {
                write!(formatter, "cannot start {}: {error}", path.display())
            }
            Self::Read(error) => write!(formatter, "cannot read what the program says: {error}"),
            Self::Slow => formatter.write_str("the program took too long and was stopped"),
            Self::Endless => formatter.write_str("the program wrote too much and was stopped"),
            Self::Status(status) => write!(formatter, "the program failed ({status})"),
            Self::Json(error) => {
                write!(formatter, "the program did not write an object of JSON: {error}")
            }
            Self::Key(key) => {
                write!(formatter, "the value of {key} in the program's answer is of a wrong kind")
            }
        }
    }
}

impl std::error::Error for Failure {}
