//! `kitelet run`: reads the configuration and flies its kites.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use ::log::{LevelFilter, error};

use super::{DEFAULT_CONFIG, EXIT_CONFIG, EXIT_STOPPED, Outcome, bad_config, say_warnings};
use crate::agent;
use crate::config::{Environment, Settings, Source, load};
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
            Outcome::Start(Box::new(loaded.settings))
        }
        Err(error) => bad_config(errors, &error),
    }
}

/// Flies the kites until a signal comes.
pub(super) fn start(settings: Settings) -> ExitCode {
    log::start(LevelFilter::Info);
    match agent::run(settings) {
        Ok(()) => ExitCode::from(EXIT_STOPPED),
        Err(problem) => {
            error!("{problem}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}
