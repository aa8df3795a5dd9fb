//! Pages for visitors as both ends make them: one look, nothing fetched from
//! elsewhere, and every text that comes from outside is escaped, which
//! PageKite leaves out (`protocol.md` 12.1).

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::wire::MAX_DOMAIN_BYTES;

/// Rules of style that all pages begin with.
const STYLE: &str = "\
:root{color-scheme:light dark}\
body{margin:0;font:1.05rem/1.5 system-ui,sans-serif}\
main{max-width:32rem;margin:12vh auto 0;padding:0 1.2rem;overflow-wrap:anywhere}\
h1{font-size:1.6rem;line-height:1.2;border-bottom:3px solid #e07b39;padding-bottom:.6rem}\
code{font-size:.95em}\
.fix{opacity:.75;font-size:.95rem}";

/// A whole page. `title` and `main` are HTML, escaped already; `head` is what
/// the head has besides, `style` are rules that follow the common ones.
pub(crate) fn document(title: &str, head: &str, style: &str, main: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title>{head}<style>{STYLE}{style}</style></head>\
         <body><main>{main}</main></body></html>\n"
    )
}

/// A page that is a frame around `url`, with `text` for browsers without
/// frames (`protocol.md` 12.1). `title` and `text` are HTML, escaped already;
/// `url` is not.
pub(crate) fn frameset(title: &str, text: &str, url: &str) -> String {
    let url = escape(url);
    format!(
        "<!doctype html><html><head><title>{title}</title></head>\
         <frameset cols=\"*\"><frame target=\"_top\" src=\"{url}\">\
         <noframes><body><h1>{title}</h1>{text}</body></noframes>\
         </frameset></html>\n"
    )
}

/// The error URL with parameters, as PageKite writes it (`protocol.md` 12.1),
/// with a `?` where there is none. It is not escaped for HTML yet.
pub(crate) fn frame_url(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut whole = url.to_owned();
    let mut separator = if url.contains('?') { '&' } else { '?' };
    for (name, value) in parameters {
        // Infallible: a String takes every write.
        let _ = write!(whole, "{separator}{name}={}", percent_encode(value));
        separator = '&';
    }
    whole
}

/// The error URL for `domain`: that of the longest configured parent (the
/// domain itself counts), else the one without a domain. `urls` are pairs of
/// domain and URL as in `Settings::error_urls`; of two for the same domain the
/// last one holds. A leading `*.` of a configured domain means the same as the
/// bare domain.
pub(crate) fn error_url<'a>(urls: &'a [(String, String)], domain: &str) -> Option<&'a str> {
    let find = |wanted: &str| {
        urls.iter()
            .rev()
            .find(|(name, _)| name.trim_start_matches("*.").eq_ignore_ascii_case(wanted))
            .map(|(_, url)| url.as_str())
            .filter(|url| !url.is_empty())
    };
    let mut name = domain;
    while !name.is_empty() {
        if let Some(url) = find(name) {
            return Some(url);
        }
        name = name.split_once('.').map_or("", |(_, parent)| parent);
    }
    find("")
}

/// Cuts a domain that is none to what a page can bear: the length at which
/// DNS names end.
pub(crate) fn shown(domain: &str) -> &str {
    let mut end = domain.len().min(MAX_DOMAIN_BYTES);
    while !domain.is_char_boundary(end) {
        end -= 1;
    }
    &domain[..end]
}

/// Makes text safe between tags and in quoted attributes.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"', '\'']) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}

/// RFC 3986 section 2.1, for a value in a query.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_ends_a_text_or_an_attribute_survives() {
        assert_eq!(escape("<a b='c' d=\"&\">"), "&lt;a b=&#39;c&#39; d=&quot;&amp;&quot;&gt;");
        assert!(matches!(escape("kite.example.com"), Cow::Borrowed("kite.example.com")));
    }

    #[test]
    fn values_of_a_query_keep_to_unreserved_letters() {
        assert_eq!(percent_encode("a-b.c_d~1 &=%/é"), "a-b.c_d~1%20%26%3D%25%2F%C3%A9");
    }

    #[test]
    fn a_frame_url_has_one_question_mark() {
        let parameters = [("where", "FE"), ("relay", "::1")];
        for (url, whole) in [
            ("https://e.org/off", "https://e.org/off?where=FE&relay=%3A%3A1"),
            ("https://e.org/?", "https://e.org/?&where=FE&relay=%3A%3A1"),
            ("https://e.org/?a=b", "https://e.org/?a=b&where=FE&relay=%3A%3A1"),
        ] {
            assert_eq!(frame_url(url, &parameters), whole);
        }
    }

    #[test]
    fn a_long_name_is_cut_between_letters() {
        let name = format!("a{}", "é".repeat(200));
        assert_eq!(shown(&name).len(), MAX_DOMAIN_BYTES);
        assert_eq!(shown(&name[1..]).len(), MAX_DOMAIN_BYTES - 1);
        assert_eq!(shown(""), "");
    }

    #[test]
    fn error_urls_are_looked_up_through_the_parents() {
        let urls: Vec<(String, String)> = [
            ("", "rest"),
            ("example.com", "old"),
            ("example.com", "parent"),
            ("a.example.com", "own"),
            ("*.example.net", "star"),
            ("silent.example.com", ""),
        ]
        .map(|(domain, url)| (domain.to_owned(), url.to_owned()))
        .to_vec();
        for (domain, url) in [
            ("a.example.com", Some("own")),
            ("A.Example.com", Some("own")),
            ("x.a.example.com", Some("own")),
            ("b.example.com", Some("parent")),
            ("badexample.com", Some("rest")),
            ("b.example.net", Some("star")),
            ("silent.example.com", Some("parent")),
            ("", Some("rest")),
        ] {
            assert_eq!(error_url(&urls, domain), url, "{domain:?}");
        }
        assert_eq!(error_url(&urls[1..], "elsewhere.test"), None);
        assert_eq!(error_url(&[], "a.example.com"), None);
    }
}
