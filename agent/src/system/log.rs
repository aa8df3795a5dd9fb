//! Where log lines go: standard error, one write a line.
//!
//! Under systemd a line begins with its priority as `<N>` and carries no time
//! (sd-daemon(3)); elsewhere it carries the time in UTC when standard error is
//! not a terminal and nobody else writes one. A write that fails is forgotten:
//! a full disk or a closed pipe must not end the tunnel, which is why
//! `simple_logger`, whose writes panic then, serves commands at a terminal
//! only.

use std::io::{self, IsTerminal as _, Write as _};

use super::civil::Civil;
use log::{Level, LevelFilter, Log, Metadata, Record};

/// Longest line that is written, in bytes; the rest is cut.
const MAX_LINE_BYTES: usize = 1024;

/// Starts logging, once. At a terminal for a person, else for a service
/// manager.
pub fn start(level: LevelFilter) {
    if io::stderr().is_terminal() {
        // It fails when logging was started already, which is as good.
        let _ = simple_logger::SimpleLogger::new().with_level(level).init();
        return;
    }
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let sink: &'static Sink =
        if to_journal { &Sink { to_journal: true } } else { &Sink { to_journal: false } };
    if log::set_logger(sink).is_ok() {
        log::set_max_level(level);
    }
}

struct Sink {
    to_journal: bool,
}

impl Log for Sink {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut line = Vec::with_capacity(128);
        // Writing to a `Vec` does not fail.
        let _ = if self.to_journal {
            write!(line, "<{}>{}", priority(record.level()), record.args())
        } else {
            write!(line, "{} {:<5} {}", Civil::now(), record.level(), record.args())
        };
        line.truncate(MAX_LINE_BYTES);
        for byte in &mut line {
            // A line is a line, whatever stands in it.
            if byte.is_ascii_control() {
                *byte = b' ';
            }
        }
        line.push(b'\n');
        let _ = io::stderr().write_all(&line);
    }

    fn flush(&self) {}
}

/// Priorities of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
