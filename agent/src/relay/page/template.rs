//! The operator's own page for visitors who are not served (`errorpage`): a
//! file in HTML in which words in braces stand for what differs:
//!
//! ```text
//! {title}    what is the matter, in a few words
//! {text}     the same in a sentence or two
//! {hint}     what the visitor can do
//! {name}     the name that the visitor asked for, else "this address"
//! {status}   the number of the HTTP status, such as 503
//! {refresh}  seconds until a reload makes sense, else nothing:
//!            <meta http-equiv="refresh" content="{refresh}">
//! ```
//!
//! A placeholder is a brace, a word and a brace; any other brace is itself, as
//! in `p {color: red}` or `{ word }`. Values are escaped: they cannot break
//! out of text or out of an attribute in quotes.

use std::fmt;

use crate::html::escape;

/// The largest template in bytes. It is kept in memory, and each visitor who
/// is not served gets a copy.
pub const MAX_TEMPLATE_BYTES: usize = 64 * 1024;

/// The most placeholders of a template: what a visitor sends, such as a long
/// name, must not grow without bound in the page.
pub const MAX_PLACEHOLDERS: usize = 64;

/// The longest part of an unknown placeholder that its error repeats, in bytes.
const MAX_SHOWN_WORD_BYTES: usize = 40;

/// A page with gaps, checked and cut into pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// Why a file is no template. Displayed to follow the name of the file and a
/// colon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateError {
    /// It has nothing in it but white space.
    Empty,
    /// It has more than [`MAX_TEMPLATE_BYTES`].
    TooLarge,
    /// It is not UTF-8 from this line on, counted from 1.
    NotUtf8 {
        /// The line.
        line: usize,
    },
    /// A word in braces that stands for nothing.
    UnknownPlaceholder {
        /// The word, cut to 40 bytes.
        word: String,
        /// Its line, counted from 1.
        line: usize,
    },
    /// It has more than [`MAX_PLACEHOLDERS`].
    TooManyPlaceholders,
}

/// What stands in the gaps; not escaped yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) title: &'a str,
    pub(super) text: &'a str,
    pub(super) hint: &'a str,
    pub(super) name: &'a str,
    pub(super) status: &'a str,
    pub(super) refresh: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Gap(Gap),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    Title,
    Text,
    Hint,
    Name,
    Status,
    Refresh,
}

impl Template {
    /// Reads a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, see [`TemplateError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TemplateError> {
        // Before anything else is done to so many bytes.
        if bytes.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let read = bytes.get(..error.valid_up_to()).unwrap_or_default();
            TemplateError::NotUtf8 { line: 1 + read.iter().filter(|byte| **byte == b'\n').count() }
        })?;
        Self::parse(text)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong with it, see [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(TemplateError::TooLarge);
        }
        if text.trim().is_empty() {
            return Err(TemplateError::Empty);
        }
        let mut pieces = Vec::new();
        let mut gaps = 0;
        let mut literal_start = 0;
        let mut position = 0;
        while let Some(found) = text[position..].find('{') {
            let open = position + found;
            position = open + 1;
            let Some(word) = placeholder(&text[position..]) else { continue };
            let Some(gap) = Gap::from_word(word) else {
                let line = 1 + text[..open].matches('\n').count();
                // A placeholder is ASCII, so that every index is a boundary.
                let word = word[..word.len().min(MAX_SHOWN_WORD_BYTES)].to_owned();
                return Err(TemplateError::UnknownPlaceholder { word, line });
            };
            gaps += 1;
            if gaps > MAX_PLACEHOLDERS {
                return Err(TemplateError::TooManyPlaceholders);
            }
            if literal_start < open {
                pieces.push(Piece::Literal(text[literal_start..open].to_owned()));
            }
            pieces.push(Piece::Gap(gap));
            position += word.len() + 1;
            literal_start = position;
        }
        if literal_start < text.len() {
            pieces.push(Piece::Literal(text[literal_start..].to_owned()));
        }
        Ok(Self { pieces })
    }

    /// The page with these values, escaped. What a value looks like makes no
    /// difference: braces in it are not read again.
    pub(super) fn fill(&self, values: &Values<'_>) -> String {
        let mut page = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => page.push_str(text),
                Piece::Gap(gap) => page.push_str(&escape(gap.value(values))),
            }
        }
        page
    }
}

/// The word up to the closing brace, where `text` follows an opening one. It
/// begins with a letter and goes on with letters, digits, `_` and `-`.
fn placeholder(text: &str) -> Option<&str> {
    let is_inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let length = text.bytes().position(|byte| !is_inside(byte))?;
    let begins = text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    (begins && text.as_bytes().get(length) == Some(&b'}')).then(|| &text[..length])
}

impl Gap {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "title" => Self::Title,
            "text" => Self::Text,
            "hint" => Self::Hint,
            "name" => Self::Name,
            "status" => Self::Status,
            "refresh" => Self::Refresh,
            _ => return None,
        })
    }

    fn value<'a>(self, values: &Values<'a>) -> &'a str {
        match self {
            Self::Title => values.title,
            Self::Text => values.text,
            Self::Hint => values.hint,
            Self::Name => values.name,
            Self::Status => values.status,
            Self::Refresh => values.refresh,
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => formatter.write_str("is empty; write a page in HTML into it"),
            Self::TooLarge => write!(
                formatter,
                "is larger than {} KB; keep pictures elsewhere",
                MAX_TEMPLATE_BYTES / 1024
            ),
            Self::NotUtf8 { line } => {
                write!(formatter, "line {line} is not UTF-8; save the file in UTF-8")
            }
            Self::UnknownPlaceholder { word, line } => write!(
                formatter,
                "line {line}: there is no placeholder {{{word}}}; write {{title}}, {{text}}, \
                 {{hint}}, {{name}}, {{status}} or {{refresh}}, and {{ {word} }} for the word in \
                 braces"
            ),
            Self::TooManyPlaceholders => {
                write!(formatter, "has more than {MAX_PLACEHOLDERS} placeholders; delete some")
            }
        }
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values {
        title: "Away",
        text: "Nothing at <a>.",
        hint: "Try \"again\".",
        name: "{title}",
        status: "503",
        refresh: "30",
    };

    fn filled(text: &str) -> String {
        Template::parse(text).expect(text).fill(&VALUES)
    }

    #[test]
    fn placeholders_are_filled_wherever_they_stand() {
        assert_eq!(filled("{title}"), "Away");
        assert_eq!(filled("{status}{status} {refresh}é{title}\n"), "503503 30éAway\n");
        assert_eq!(filled("{{title}}"), "{Away}");
        assert_eq!(filled("{a:{title}}{"), "{a:Away}{");
    }

    #[test]
    fn other_braces_stay_as_they_are() {
        for text in [
            "p{color:red}",
            "p {\n  margin: 0\n}",
            "{}",
            "{ title }",
            "{1}",
            "{title",
            "title}",
            "{tit le}",
            "{é}",
            "{_a}",
            "{{",
            "@media (x){p{color:red}}",
        ] {
            assert_eq!(filled(text), text);
        }
    }

    #[test]
    fn values_are_escaped_and_not_read_again() {
        assert_eq!(
            filled("<p title=\"{hint}\">{text}{name}</p>"),
            "<p title=\"Try &quot;again&quot;.\">Nothing at &lt;a&gt;.{title}</p>"
        );
    }

    #[test]
    fn an_unknown_placeholder_is_told_with_its_line_and_the_mend() {
        let error = Template::parse("<p>\n{name}\n{nmae}</p>").expect_err("unknown");
        let text = error.to_string();
        assert!(text.starts_with("line 3: there is no placeholder {nmae}; write {title},"));
        assert!(text.ends_with("{ nmae } for the word in braces"), "{text}");
        for (text, wanted) in [("{Title}", "Title"), ("{a-b}", "a-b"), ("{name1}", "name1")] {
            let error = Template::parse(text).expect_err(text);
            let word = wanted.to_owned();
            assert_eq!(error, TemplateError::UnknownPlaceholder { word, line: 1 });
        }
        let long = format!("{{{}}}", "a".repeat(MAX_TEMPLATE_BYTES - 2));
        assert!(Template::parse(&long).expect_err("unknown").to_string().len() < 300);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        assert_eq!(Template::from_bytes(b" \n"), Err(TemplateError::Empty));
        assert_eq!(Template::from_bytes(b"a\nb\xff"), Err(TemplateError::NotUtf8 { line: 2 }));
        let full = "é".repeat(MAX_TEMPLATE_BYTES / 2);
        assert_eq!(filled(&full), full);
        assert_eq!(Template::parse(&(full.clone() + "a")), Err(TemplateError::TooLarge));
        let over = vec![0xff; MAX_TEMPLATE_BYTES + 1];
        assert_eq!(Template::from_bytes(&over), Err(TemplateError::TooLarge));
        let most = "{name}".repeat(MAX_PLACEHOLDERS);
        assert!(Template::parse(&most).is_ok());
        assert_eq!(Template::parse(&(most + "{name}")), Err(TemplateError::TooManyPlaceholders));
    }

    #[test]
    fn many_open_braces_cost_no_more_than_their_length() {
        // Each word ends at the next brace, so that no byte is looked at often.
        let text = "{a".repeat(MAX_TEMPLATE_BYTES / 2);
        assert_eq!(filled(&text), text);
    }
}
