//! From rc files and command lines to [`RelaySettings`]: the same files and the
//! same stages as for an agent, with what each option means to a relay.
//!
//! `resolve` hands every line to the part that knows it (`ports`, `grants`,
//! `authority`, `certificates`, `access`, `limits`, `files`) and looks at the
//! whole in the end. The kites file is read on its own (`kites_file`), because
//! it changes while the relay runs.

mod access;
mod authority;
mod certificates;
mod defaults;
mod files;
mod grants;
mod kites_file;
mod limits;
mod ports;
mod resolve;
mod table;

pub use access::MAX_ACCESS_RULES;
pub use authority::{DEFAULT_AUTHTHREADS, MAX_AUTHORITIES, MAX_AUTHTHREADS};
pub use certificates::MAX_CERTIFICATES;
pub use grants::{MAX_GRANT_SECRET_BYTES, MIN_GRANT_SECRET_BYTES};
pub use kites_file::{
    MAX_KITE_LINE_BYTES, MAX_KITE_LINES, MAX_KITES_FILE_BYTES, load_kites, read_kites,
};
pub use limits::{
    DEFAULT_MAX_CONNECTIONS, DEFAULT_MAX_KITES, DEFAULT_MAX_TUNNELS, DEFAULT_MAX_VISITORS,
    DEFAULT_RATELIMIT_AUTH, DEFAULT_RELAY_BUFFER_KILOBYTES, DEFAULT_STOP_SECONDS,
    MAX_CONNECTION_LIMIT, MAX_RATE_SECONDS, MAX_STOP_SECONDS,
};
pub use ports::{DEFAULT_PORTS, DEFAULT_PROTOCOLS, MAX_HOSTS, MAX_PORTS};
pub(super) use table::{OURS_FOR_RELAYS, OwnAction};

use super::environment::Environment;
use super::options::{Lookup, Role, Value, find};
use super::problem::{ConfigError, Problems, Report};
use super::relay_settings::RelaySettings;
use super::source::{Source, read_sources};

/// A relay's configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedRelay {
    /// What it means.
    pub settings: RelaySettings,
    /// What has no effect or is unwise; for the user to read.
    pub warnings: Problems,
}

/// Reads all `sources` in order and understands them. The kites file is not
/// read, only looked for; see [`load_kites`].
///
/// # Errors
/// Every mistake that was found, up to [`super::MAX_MISTAKES`], each with its
/// place and the mend.
pub fn load_relay(
    sources: &[Source],
    environment: &dyn Environment,
) -> Result<LoadedRelay, ConfigError> {
    load_for(resolve::Purpose::Run, sources, environment)
}

/// The same for a relay whose first kite is about to be added: there need not
/// be any, and the kites file need not exist.
///
/// # Errors
/// As [`load_relay`].
pub fn load_relay_without_kites(
    sources: &[Source],
    environment: &dyn Environment,
) -> Result<LoadedRelay, ConfigError> {
    load_for(resolve::Purpose::Add, sources, environment)
}

fn load_for(
    purpose: resolve::Purpose,
    sources: &[Source],
    environment: &dyn Environment,
) -> Result<LoadedRelay, ConfigError> {
    let mut report = Report::new();
    let lines = read_sources(sources, Role::Relay, environment, &mut report);
    match resolve::resolve(lines, sources, purpose, environment, &mut report) {
        Some(settings) => Ok(LoadedRelay { settings, warnings: report.warnings }),
        None => Err(ConfigError { mistakes: report.mistakes, warnings: report.warnings }),
    }
}

/// Where a relay's configuration came from, to load it again (SIGHUP). `Debug`
/// shows no option of the command line, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelaySources(pub Vec<Source>);

impl RelaySources {
    /// Loads the configuration as it is now.
    ///
    /// # Errors
    /// As [`load_relay`].
    pub fn load(&self, environment: &dyn Environment) -> Result<LoadedRelay, ConfigError> {
        load_relay(&self.0, environment)
    }
}

/// An option of the command line, by any of its names: the name and whether a
/// value follows.
///
/// # Errors
/// What is wrong with the name; the name itself is not repeated.
pub(crate) fn relay_option(name: &str) -> Result<(&'static str, bool), String> {
    match find(name, Role::Relay) {
        Lookup::Found(row) => Ok((row.name, row.value == Value::Needed)),
        Lookup::Ambiguous(names) => {
            Err(format!("no such option; short for {}; write the whole name", names.join(", ")))
        }
        Lookup::Unknown(Some(near)) => Err(format!("no such option; did you mean --{near}?")),
        Lookup::Unknown(None) => Err("no such option".into()),
    }
}

#[cfg(test)]
mod tests;
