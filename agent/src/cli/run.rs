//! `kitelet run`: reads the configuration and flies its kites.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(unix)]
use ::log::{LevelFilter, error};

#[cfg(unix)]
use super::EXIT_STOPPED;
use super::{DEFAULT_CONFIG, EXIT_CONFIG, Outcome, bad_config, say_warnings};
#[cfg(unix)]
use crate::agent;
#[cfg(unix)]
use crate::config::Host;
use crate::config::{Environment, Settings, Source, load};
#[cfg(unix)]
use crate::system::log;

pub(super) fn command(
    config: &[PathBuf],
    environment: &dyn Environment,
    errors: &mut dyn Write,
) -> Outcome {
    start_with(&sources(config), environment, errors)
}

/// The sources of `-c`, or the default one.
pub(super) fn sources(config: &[PathBuf]) -> Vec<Source> {
    if config.is_empty() {
        return vec![Source::Path(DEFAULT_CONFIG.into())];
    }
    config.iter().cloned().map(Source::Path).collect()
}

/// Loads the sources; what follows is a start, or the reasons why not.
pub(super) fn start_with(
    sources: &[Source],
    environment: &dyn Environment,
    errors: &mut dyn Write,
) -> Outcome {
    match load(sources, environment) {
        Ok(loaded) => {
            say_warnings(errors, &loaded.warnings);
            Outcome::Start(Box::new(loaded.settings), sources.to_vec())
        }
        Err(error) => bad_config(errors, &error),
    }
}

/// Says that this is no place for kites.
#[cfg(not(unix))]
pub(super) fn start(_: Settings, _: &[Source]) -> ExitCode {
    let text =
        "kitelet: on this system, kites are visited only (kitelet connect); they fly from Linux";
    super::say(&mut std::io::stderr(), text);
    ExitCode::from(EXIT_CONFIG)
}

/// Flies the kites until a signal comes.
#[cfg(unix)]
pub(super) fn start(settings: Settings, sources: &[Source]) -> ExitCode {
    log::start(LevelFilter::Info);
    match agent::run(settings, &|| load(sources, &Host)) {
        Ok(()) => ExitCode::from(EXIT_STOPPED),
        Err(problem) => {
            error!("{problem}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
