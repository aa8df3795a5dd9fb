//! `kitelet demo`: everything at once on this machine, to be looked at.

use std::io::Write;
use std::process::ExitCode;

use ::log::LevelFilter;

use super::{EXIT_STOPPED, EXIT_UNAVAILABLE, say};
use crate::demo;
use crate::system::log;

/// Runs until a signal comes.
pub(super) fn start(output: &mut dyn Write, errors: &mut dyn Write) -> ExitCode {
    log::start(LevelFilter::Warn);
    match demo::run(output) {
        Ok(()) => ExitCode::from(EXIT_STOPPED),
        Err(problem) => {
            say(errors, &format!("kitelet: {problem}"));
            ExitCode::from(EXIT_UNAVAILABLE)
        }
    }
}
