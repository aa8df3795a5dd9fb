//! What is wrong with a configuration, told so that it can be mended: place,
//! option, fault and mend on one line. No text in here ever holds a secret,
//! and none can move a terminal's cursor.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

/// Mistakes that are kept and shown; the rest is counted.
pub const MAX_MISTAKES: usize = 20;
/// Warnings that are kept and shown; the rest is counted.
pub const MAX_WARNINGS: usize = 50;
/// Characters of a quoted word; what is longer is cut.
const MAX_QUOTED_CHARACTERS: usize = 64;

/// Where something was typed: a line of a file, a whole file or folder, or the
/// command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: Option<Rc<Path>>,
    line: Option<u32>,
}

impl Place {
    pub(super) fn line(file: &Rc<Path>, line: u32) -> Self {
        Self { file: Some(Rc::clone(file)), line: Some(line) }
    }

    pub(super) fn path(path: &Path) -> Self {
        Self { file: Some(Rc::from(path)), line: None }
    }

    pub(super) fn command_line() -> Self {
        Self { file: None, line: None }
    }

    /// The file or folder; `None` is the command line.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The line in the file, from 1; `None` is the file as a whole.
    pub fn line_number(&self) -> Option<u32> {
        self.line
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => formatter.write_str(&printable(&file.to_string_lossy()))?,
            None => formatter.write_str("command line")?,
        }
        match self.line {
            Some(line) => write!(formatter, ":{line}"),
            None => Ok(()),
        }
    }
}

/// One mistake or one warning; displays as `FILE:LINE: option: fault; mend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it was typed.
    pub place: Place,
    /// The option, by PageKite's name for it; empty when a whole file is meant.
    pub option: String,
    /// What is wrong and what to write instead.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.place)?;
        if !self.option.is_empty() {
            write!(formatter, "{}: ", printable(&self.option))?;
        }
        formatter.write_str(&printable(&self.text))
    }
}

/// A bounded list of problems; displays one on each line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    kept: Vec<Problem>,
    total: usize,
    limit: usize,
}

impl Problems {
    fn with_limit(limit: usize) -> Self {
        Self { kept: Vec::new(), total: 0, limit }
    }

    fn push(&mut self, problem: Problem) {
        // The same thing said twice about the same line helps nobody.
        if self.kept.contains(&problem) {
            return;
        }
        self.total += 1;
        if self.kept.len() < self.limit {
            self.kept.push(problem);
        }
    }

    /// The problems that were kept, in the order of the files.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.kept.iter()
    }

    /// How many were found, kept or not.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.kept.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            problem.fmt(formatter)?;
        }
        match self.total - self.kept.len() {
            0 => Ok(()),
            more => write!(formatter, "\n... and {more} more"),
        }
    }
}

/// A configuration that cannot be used; displays every mistake on a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Why; never empty.
    pub mistakes: Problems,
    /// What else was noticed.
    pub warnings: Problems,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mistakes.fmt(formatter)
    }
}

impl std::error::Error for ConfigError {}

/// Collects what is found while files are read and options are understood.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) mistakes: Problems,
    pub(super) warnings: Problems,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            mistakes: Problems::with_limit(MAX_MISTAKES),
            warnings: Problems::with_limit(MAX_WARNINGS),
        }
    }

    pub(super) fn mistake(&mut self, place: &Place, option: &str, text: impl Into<String>) {
        self.mistakes.push(Problem {
            place: place.clone(),
            option: option.to_owned(),
            text: text.into(),
        });
    }

    pub(super) fn warning(&mut self, place: &Place, option: &str, text: impl Into<String>) {
        self.warnings.push(Problem {
            place: place.clone(),
            option: option.to_owned(),
            text: text.into(),
        });
    }
}

/// A typed word as it may stand in a message: cut to a bounded length.
pub(super) fn quoted(word: &str) -> String {
    let mut short: String = word.chars().take(MAX_QUOTED_CHARACTERS).collect();
    if short.len() < word.len() {
        short.push_str("...");
    }
    short
}

/// The same text without characters that a terminal obeys.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '\u{fffd}' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_file_line_and_option() {
        let file: Rc<Path> = Rc::from(Path::new("/etc/kitelet.d/10.rc"));
        let problem = Problem {
            place: Place::line(&file, 3),
            option: "frontend".into(),
            text: "wrong; write it right".into(),
        };
        assert_eq!(problem.to_string(), "/etc/kitelet.d/10.rc:3: frontend: wrong; write it right");
    }

    #[test]
    fn the_list_is_bounded_and_counts_the_rest() {
        let mut report = Report::new();
        for number in 0..MAX_MISTAKES + 5 {
            report.mistake(&Place::command_line(), "x", number.to_string());
        }
        let text = report.mistakes.to_string();
        assert_eq!(text.lines().count(), MAX_MISTAKES + 1);
        assert!(text.ends_with("... and 5 more"));
        assert_eq!(report.mistakes.total(), MAX_MISTAKES + 5);
    }

    #[test]
    fn a_file_name_cannot_move_the_cursor() {
        let place = Place::path(Path::new("a\u{1b}[2Jb"));
        assert!(!place.to_string().contains('\u{1b}'));
        assert!(quoted(&"x".repeat(1000)).len() < 100);
    }
}
