//! The rc format, line by line (features A): an option on each line, a leading
//! `--` or not, blanks round `=` and `:` taken out, `#` lines skipped, a line
//! that starts with `END` ends the file. Pure: bytes in, typed lines out.

use std::path::Path;
use std::rc::Rc;

use super::options::{self, Lookup, Role, Row, Value};
use super::problem::{Place, Report, quoted};

/// Longest line, in bytes.
pub const MAX_LINE_BYTES: usize = 8 * 1024;
/// Longest name of an option that is repeated in a message.
const MAX_NAME_BYTES: usize = 32;

/// An option as it was typed. Not `Debug`: the value may be a secret.
pub(super) struct TypedLine {
    pub(super) place: Place,
    pub(super) row: &'static Row,
    /// What follows the `=`; empty for an option that stands alone.
    pub(super) value: String,
    /// Whether every user of the machine may read the file of the line.
    pub(super) exposed: bool,
}

/// Reads a whole file, up to `limit + 1` options of it; what cannot be
/// understood goes to `report`.
pub(super) fn read_file(
    file: &Rc<Path>,
    bytes: &[u8],
    exposed: bool,
    limit: usize,
    role: Role,
    report: &mut Report,
) -> Vec<TypedLine> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut lines = Vec::new();
    let mut number = 0u32;
    for line in bytes.split(|&byte| byte == b'\n') {
        number = number.saturating_add(1);
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        if line.starts_with(b"END") || lines.len() > limit {
            break;
        }
        let place = Place::line(file, number);
        lines.extend(read_line(place, line, exposed, role, report));
    }
    lines
}

/// Reads one line that is neither empty nor a comment.
pub(super) fn read_line(
    place: Place,
    line: &[u8],
    exposed: bool,
    role: Role,
    report: &mut Report,
) -> Option<TypedLine> {
    if line.len() > MAX_LINE_BYTES {
        let text = format!("the line is longer than {MAX_LINE_BYTES} bytes; shorten it");
        report.mistake(&place, "", text);
        return None;
    }
    let Ok(line) = std::str::from_utf8(line) else {
        let text = "the line is not UTF-8 text; save the file as UTF-8";
        report.mistake(&place, "", text);
        return None;
    };
    if line.contains(|character: char| character.is_control() && character != '\t') {
        let text = "the line holds a control character; type the line again";
        report.mistake(&place, "", text);
        return None;
    }
    let line = without_blanks(line);
    let (row, value) = match split(&line, role) {
        Ok(found) => found,
        Err((name, text)) => {
            report.mistake(&place, &name, text);
            return None;
        }
    };
    let text = match (row.value, value) {
        (Value::Alone, Some(_)) => format!("takes no value; write {} alone", row.name),
        (Value::Needed, None) => format!("needs a value; write {} = VALUE", row.name),
        (_, value) => {
            return Some(TypedLine {
                place,
                row,
                value: value.unwrap_or_default().to_owned(),
                exposed,
            });
        }
    };
    report.mistake(&place, row.name, text);
    None
}

/// Takes out the blanks round every `=` and `:`, as PageKite does.
fn without_blanks(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for character in line.trim().chars() {
        if matches!(character, '=' | ':') {
            text.truncate(text.trim_end().len());
            text.push(character);
        } else if !(character.is_whitespace() && text.ends_with(['=', ':'])) {
            text.push(character);
        }
    }
    text
}

/// Finds the option and its value; the error is the name to show and what is
/// wrong with it.
fn split(line: &str, role: Role) -> Result<(&'static Row, Option<&str>), (String, String)> {
    if let Some(short) = line.strip_prefix('-').filter(|rest| !rest.starts_with('-')) {
        return split_short(short);
    }
    let line = line.strip_prefix("--").unwrap_or(line);
    let (name, value) = match line.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (line, None),
    };
    let ambiguous = match options::find(name, role) {
        Lookup::Found(row) => return Ok((row, value)),
        Lookup::Ambiguous(names) => names,
        Lookup::Unknown(near) => return Err(unknown(name, value, near, role)),
    };
    let text = format!("no such option; short for {}; write the whole name", ambiguous.join(", "));
    Err((quoted(name), text))
}

/// `-N`, `-oFILE` or `-o FILE`.
fn split_short(short: &str) -> Result<(&'static Row, Option<&str>), (String, String)> {
    let mut characters = short.chars();
    let row = characters.next().and_then(options::find_letter);
    let Some(row) = row else {
        let text = "no option has this letter; write the whole name of the option";
        return Err((String::new(), text.into()));
    };
    let rest = characters.as_str().trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    Ok((row, (!rest.is_empty()).then_some(rest)))
}

/// What to say of a line that is no option. Its text may be a secret that lost
/// its option, so only what looks like the name of an option is repeated.
fn unknown(
    name: &str,
    value: Option<&str>,
    near: Option<&'static str>,
    role: Role,
) -> (String, String) {
    let word: &str = name.split([' ', '\t', ':']).next().unwrap_or_default();
    if word.len() < name.len() {
        if let Lookup::Found(row) = options::find(word, role) {
            let text = format!("the = is missing; write {} = VALUE", row.name);
            return (row.name.to_owned(), text);
        }
    }
    if let Some(near) = near {
        let text = format!("no such option; did you mean {near}?");
        return (quoted(name), text);
    }
    let looks_like_a_name = word.len() == name.len()
        && name.len() <= MAX_NAME_BYTES
        && value.is_some_and(|value| !value.trim_matches('=').is_empty())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let shown = if looks_like_a_name { name } else { "" };
    let text = "no such option; write OPTION = VALUE, or # before a remark";
    (shown.to_owned(), text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(&'static str, String)>, String) {
        let file: Rc<Path> = Rc::from(Path::new("k.rc"));
        let mut report = Report::new();
        let lines = read_file(&file, text.as_bytes(), false, 99, Role::Agent, &mut report);
        let lines = lines.into_iter().map(|line| (line.row.name, line.value));
        (lines.collect(), report.mistakes.to_string())
    }

    fn one(text: &str) -> (&'static str, String) {
        let (mut lines, mistakes) = read(text);
        assert_eq!(mistakes, "", "{text:?}");
        assert_eq!(lines.len(), 1, "{text:?}");
        lines.remove(0)
    }

    fn mistake(text: &str) -> String {
        let (lines, mistakes) = read(text);
        assert!(lines.is_empty(), "{text:?}");
        mistakes
    }

    #[test]
    fn reads_lines_as_pagekite_does() {
        for (text, name, value) in [
            ("--nossl", "nossl", ""),
            ("  nossl \r", "nossl", ""),
            ("kitename=a.b", "kitename", "a.b"),
            ("\tkitename  =   a.b\t", "kitename", "a.b"),
            ("kitesecret = a : b = c", "kitesecret", "a:b=c"),
            ("kitesecret = a#b", "kitesecret", "a#b"),
            ("fe_certname =", "fe_certname", ""),
            ("kiten = a.b", "kitename", "a.b"),
            ("backend = x : y", "service_on", "x:y"),
            ("-N", "new", ""),
            ("-o /etc/more.rc", "optfile", "/etc/more.rc"),
            ("-o=/etc/more.rc", "optfile", "/etc/more.rc"),
        ] {
            assert_eq!(one(text), (name, value.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn skips_comments_and_what_follows_end() {
        let (lines, mistakes) = read("\u{feff}# \u{1}\n\nnossl\nEND of it\nrubbish");
        assert_eq!(lines.len(), 1);
        assert_eq!(mistakes, "");
    }

    #[test]
    fn a_comment_may_hold_any_bytes() {
        let file: Rc<Path> = Rc::from(Path::new("k.rc"));
        let mut report = Report::new();
        let lines =
            read_file(&file, b"# \xfcber\nnossl\n\xff", false, 99, Role::Agent, &mut report);
        assert_eq!(lines.len(), 1);
        assert_eq!(
            report.mistakes.to_string(),
            "k.rc:3: the line is not UTF-8 text; save the file as UTF-8"
        );
    }

    #[test]
    fn says_what_to_write_instead() {
        for (text, expected) in [
            ("nossl = 1", "k.rc:1: nossl: takes no value; write nossl alone"),
            ("frontend", "k.rc:1: frontend: needs a value; write frontend = VALUE"),
            ("\nfrontend host:443", "k.rc:2: frontend: the = is missing; write frontend = VALUE"),
            ("frotnend = host", "k.rc:1: frotnend: no such option; did you mean frontend?"),
            (
                "bandwidth = 3",
                "k.rc:1: bandwidth: no such option; write OPTION = VALUE, or # before a remark",
            ),
            (
                "noa",
                "k.rc:1: noa: no such option; short for noall, noautosave; write the whole name",
            ),
            ("-Q", "k.rc:1: no option has this letter; write the whole name of the option"),
            ("nossl\u{1b}[2J", "k.rc:1: the line holds a control character; type the line again"),
        ] {
            assert_eq!(mistake(text), expected, "{text:?}");
        }
        assert!(mistake(&"x".repeat(MAX_LINE_BYTES + 1)).contains("8192 bytes"));
    }

    #[test]
    fn a_secret_without_its_option_is_not_repeated() {
        for text in [
            "s3cretword",
            "kitesecret s3cretword",
            "http:box.example.com:localhost:80:s3cretword",
            "czNjcmV0d29yZA==",
            "service_on http:a.b:localhost:80:s3cretword",
        ] {
            let mistakes = mistake(text);
            assert!(!mistakes.contains("s3cret") && !mistakes.contains("czNj"), "{mistakes}");
        }
    }
}
