//! Which failures are told in the log. A relay that is away for a week must not
//! wear out an SD card, and a person who reads the log must see at a glance
//! since when it is away and why.

use std::time::{Duration, Instant};

/// Texts of one relay that are known as told. Failures alternate: no route,
/// no name, no answer.
const MAX_TEXTS: usize = 4;
/// After this long a trouble that goes on is told again, then ...
const FIRST_REMINDER: Duration = Duration::from_secs(60);
/// ... after ten times as long, and at last this often.
const LAST_REMINDER: Duration = Duration::from_secs(3600);
/// Lines about one relay within an hour, whatever happens to it.
pub const MAX_LINES: u32 = 30;
/// A tunnel that lives shorter is no end of the trouble.
const STABLE_AFTER: Duration = super::backoff::STABLE_AFTER;
const HOUR: Duration = Duration::from_secs(3600);

/// What was told about one relay.
#[derive(Debug, Default)]
pub struct OutageLog {
    trouble: Option<Trouble>,
    /// Lines since then.
    lines: u32,
    hour: Option<Instant>,
}

#[derive(Debug)]
struct Trouble {
    since: Instant,
    /// The same by the clock on the wall, for people.
    clock: String,
    tries: u32,
    texts: Vec<String>,
    next_reminder: Instant,
    reminder: Duration,
    /// Since when a tunnel is up.
    back: Option<Instant>,
}

impl OutageLog {
    /// A try has failed, or a tunnel was lost: the line to log, if any. `clock`
    /// is the time of day as people read it.
    pub fn failed(
        &mut self,
        now: Instant,
        clock: &str,
        text: &str,
        wait: Duration,
    ) -> Option<String> {
        let is_over = |trouble: &Trouble| {
            trouble.back.is_some_and(|back| now.saturating_duration_since(back) >= STABLE_AFTER)
        };
        if self.trouble.as_ref().is_some_and(is_over) {
            self.trouble = None;
        }
        let trouble = self.trouble.get_or_insert_with(|| Trouble {
            since: now,
            clock: clock.to_owned(),
            tries: 0,
            texts: Vec::new(),
            next_reminder: now + FIRST_REMINDER,
            reminder: FIRST_REMINDER,
            back: None,
        });
        trouble.back = None;
        trouble.tries = trouble.tries.saturating_add(1);
        let line = if !trouble.texts.iter().any(|known| known == text) {
            trouble.texts.insert(0, text.to_owned());
            trouble.texts.truncate(MAX_TEXTS);
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            format!("{text}; next try in {seconds} s")
        } else if now >= trouble.next_reminder {
            trouble.reminder = (trouble.reminder * 10).min(LAST_REMINDER);
            trouble.next_reminder = now + trouble.reminder;
            format!("{text} ({} tries since {})", trouble.tries, trouble.clock)
        } else {
            return None;
        };
        self.may_tell(now).then_some(line)
    }

    /// A tunnel is up: the line to log, if the trouble was worth one.
    pub fn is_back(&mut self, now: Instant) -> Option<String> {
        let trouble = self.trouble.as_mut()?;
        if trouble.back.replace(now).is_some() || trouble.tries < 2 {
            return None;
        }
        let lasted = now.saturating_duration_since(trouble.since);
        let line = format!("back after {} and {} tries", in_words(lasted), trouble.tries);
        self.may_tell(now).then_some(line)
    }

    /// Counts a line, as long as there may be one.
    fn may_tell(&mut self, now: Instant) -> bool {
        if self.hour.is_none_or(|hour| now.saturating_duration_since(hour) >= HOUR) {
            self.hour = Some(now);
            self.lines = 0;
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= MAX_LINES
    }
}

/// A time as people say it.
fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_trouble_is_told_once_and_then_folded() {
        let start = Instant::now();
        let mut log = OutageLog::default();
        let first = log.failed(start, "09:12", "relay r: no answer", SECOND / 2);
        assert_eq!(first.as_deref(), Some("relay r: no answer; next try in 1 s"));
        let mut lines = Vec::new();
        for second in 1..86_400 {
            let now = start + second * SECOND;
            lines.extend(log.failed(now, "xx:xx", "relay r: no answer", SECOND));
        }
        assert!(lines[0].ends_with("(61 tries since 09:12)"), "{}", lines[0]);
        assert!((24..30).contains(&lines.len()), "{} lines a day", lines.len());
        let back = log.is_back(start + 86_400 * SECOND);
        assert_eq!(back.as_deref(), Some("back after 24 h and 86400 tries"));
        assert_eq!(log.is_back(start), None);
    }

    #[test]
    fn failures_that_alternate_are_folded_as_well() {
        let start = Instant::now();
        let mut log = OutageLog::default();
        let texts = ["no route", "no name", "no answer"];
        let told = |log: &mut OutageLog, second: u32| {
            let text = texts[second as usize % 3];
            log.failed(start + second * SECOND, "", text, SECOND).is_some()
        };
        let lines = (0..59).filter(|&second| told(&mut log, second)).count();
        assert_eq!(lines, 3);
    }

    #[test]
    fn no_text_fills_the_log() {
        let start = Instant::now();
        let mut log = OutageLog::default();
        let told = |log: &mut OutageLog, second: u32| {
            log.failed(start + second * SECOND, "", &format!("port {second}"), SECOND).is_some()
        };
        let lines = (0..3600).filter(|&second| told(&mut log, second)).count();
        assert_eq!(lines, MAX_LINES as usize);
    }

    #[test]
    fn a_relay_that_comes_and_goes_does_not_fill_the_log() {
        let start = Instant::now();
        let mut log = OutageLog::default();
        let mut lines = 0;
        for round in 0..180 {
            let now = start + round * 20 * SECOND;
            lines += usize::from(log.failed(now, "", "gone", SECOND).is_some());
            lines += usize::from(log.failed(now + SECOND, "", "gone", SECOND).is_some());
            lines += usize::from(log.is_back(now + 2 * SECOND).is_some());
        }
        assert!(lines <= MAX_LINES as usize, "{lines} lines an hour");
    }

    #[test]
    fn a_trouble_after_a_good_tunnel_is_a_new_one() {
        let start = Instant::now();
        let mut log = OutageLog::default();
        assert!(log.failed(start, "", "gone", SECOND).is_some());
        log.is_back(start + SECOND);
        assert_eq!(log.failed(start + 2 * SECOND, "", "gone", SECOND), None);
        log.is_back(start + 3 * SECOND);
        assert!(log.failed(start + 60 * SECOND, "", "gone", SECOND).is_some());
    }

    #[test]
    fn a_short_loss_is_not_worth_a_word_when_it_is_over() {
        let now = Instant::now();
        let mut log = OutageLog::default();
        log.failed(now, "09:12", "the relay closed the tunnel", SECOND);
        assert_eq!(log.is_back(now + SECOND), None);
    }
}
