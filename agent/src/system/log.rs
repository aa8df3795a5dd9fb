//! Where log lines go: standard error, one write a line.
//!
//! Under systemd a line begins with its priority as `<N>` and carries no time
//! (sd-daemon(3)); elsewhere it carries the time in UTC when standard error is
//! not a terminal and nobody else writes one. A write that fails is forgotten:
//! a full disk or a closed pipe must not end the tunnel, which is why
//! `simple_logger`, whose writes panic then, serves commands at a terminal
//! only.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

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
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            write!(line, "{} {:<5} {}", Timestamp(now.as_secs()), record.level(), record.args())
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

/// Seconds since 1970 as RFC 3339 in UTC.
struct Timestamp(u64);

impl std::fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (days, second) = (self.0 / 86_400, self.0 % 86_400);
        // The civil date in eras of 400 years that begin in March.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(formatter, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_civil_dates() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(Timestamp(seconds).to_string(), wanted);
        }
    }
}
