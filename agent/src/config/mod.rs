//! From rc files and command lines to [`Settings`]: the rc format, what was
//! typed, what it means. For the relay they become `RelaySettings` (`relay_end`).
//!
//! Two stages. Files and command line become typed lines, each with its place
//! (`source` opens, `grammar` reads, `options` and `table` know the names);
//! typed lines become settings (`resolve`, with `relay`, `certificate`, `kites`,
//! `service`, `flags`, `kite_flags`, `proxy`, `short`). Every mistake is collected, so that a user mends them in
//! one go. Everything but [`Host`] is free of I/O.
//!
//! Secrets of a service, the first that is there: the one in its line; the
//! credential `kitesecret.NAME` of the service manager; `kitesecret` or
//! `kitesecret_file` above it; the same anywhere; the credential `kitesecret`.
//!
//! Paths in files are relative to the folder of the file, and `~/` is the home.

mod address;
mod address_range;
mod certificate;
mod dyndns;
mod environment;
mod error_url;
mod flags;
mod grammar;
mod kite_flags;
mod kites;
mod nearest;
mod options;
mod problem;
mod proxy;
mod proxy_environment;
mod relay;
#[cfg(feature = "relay")]
mod relay_end;
#[cfg(feature = "relay")]
mod relay_settings;
mod resolve;
mod secrets;
mod service;
mod settings;
mod short;
mod source;
mod table;

#[cfg(feature = "connect")]
pub(crate) use address::{HOST_PORT, host_port};
#[cfg(feature = "connect")]
pub(crate) use certificate::certificate_name;
#[cfg(test)]
pub(crate) use environment::Fake;
pub use environment::{Environment, FileBytes, Host, is_rc_name};
pub use error_url::{MAX_ERROR_URLS, MAX_URL_BYTES};
pub use flags::{MAX_ADDRESS_RANGES, MAX_PASSWORDS};
pub use grammar::MAX_LINE_BYTES;
pub use kites::MAX_KITES;
pub(crate) use nearest::nearest;
use options::Role;
pub(crate) use problem::printable;
pub use problem::{ConfigError, MAX_MISTAKES, MAX_WARNINGS, Place, Problem, Problems};
pub use proxy::{
    MAX_PROXY_CREDENTIAL_BYTES, Proxy, ProxyCredentials, ProxyException, ProxyExceptionHosts,
    ProxyKind, ProxySettings,
};
pub use relay::{
    DEFAULT_RELAY_PORT, MAX_CERTIFICATE_NAMES, MAX_RELAYS, MAX_SPARE_RELAYS, MAX_WANTED,
};
#[cfg(feature = "relay")]
pub use relay_end::*;
#[cfg(feature = "relay")]
pub use relay_settings::*;
#[cfg(feature = "relay")]
pub use resolve::DEFAULT_RELAY_KEEPALIVE_SECONDS;
pub use resolve::{
    DEFAULT_BUFFER_KILOBYTES, DEFAULT_KEEPALIVE_SECONDS, DEFAULT_LATE_RETRY_SECONDS,
    DEFAULT_MAX_STREAMS, DEFAULT_RETRY_SECONDS, MAX_BUFFER_KILOBYTES, MAX_KEEPALIVE_SECONDS,
    MAX_MAX_STREAMS, MAX_RETRY_SECONDS, MIN_BUFFER_KILOBYTES, MIN_KEEPALIVE_SECONDS,
};
pub use secrets::MAX_SECRET_FILE_BYTES;
pub use service::MAX_SOCKET_PATH_BYTES;
pub use settings::*;
pub use short::{ShortKite, read_short_form};
pub use source::{MAX_FILE_BYTES, MAX_FILES, MAX_LINES, MAX_NESTING, MAX_TOTAL_BYTES, Source};

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What it means.
    pub settings: Settings,
    /// What has no effect or is unwise; for the user to read.
    pub warnings: Problems,
}

/// Reads all `sources` in order and understands them.
///
/// # Errors
/// Every mistake that was found, up to [`MAX_MISTAKES`], each with its place
/// and the mend.
pub fn load(sources: &[Source], environment: &dyn Environment) -> Result<Loaded, ConfigError> {
    let mut report = problem::Report::new();
    let lines = source::read_sources(sources, Role::Agent, environment, &mut report);
    match resolve::resolve(lines, sources, environment, &mut report) {
        Some(settings) => Ok(Loaded { settings, warnings: report.warnings }),
        None => Err(ConfigError { mistakes: report.mistakes, warnings: report.warnings }),
    }
}

#[cfg(test)]
mod tests;
