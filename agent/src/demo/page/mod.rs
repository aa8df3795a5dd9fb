//! What the sample service of `kitelet demo` shows: how a visit came about, as
//! a picture with the parts that took part in it, and what flies right now.
//!
//! Pure functions from values to text. The pages fetch nothing from elsewhere
//! and have no script.

use std::fmt::Write as _;
use std::time::Duration;

use crate::html::{document, escape, shown};
use crate::relay::page::{KITE, STYLE as PAGE_STYLE};

const STYLE: &str = include_str!("demo.css");

/// Letters that the picture has room for: of the name of the kite, of the
/// address of the visitor (all of IPv4), and of what protects the tunnel.
const MAX_NAME_LETTERS: usize = 18;
const MAX_ADDRESS_LETTERS: usize = 16;
const MAX_TLS_LETTERS: usize = 8;

/// Kites that the status page lists by name; a phone shows them without much
/// scrolling.
const MAX_LISTED_KITES: usize = 20;

/// Seconds until the status page loads itself again: often enough to see what
/// happens, and each time costs a visit.
const REFRESH_SECONDS: u32 = 2;

/// The way of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// Name of the kite.
    pub(super) name: &'a str,
    /// Address that the visitor comes from, as the service is told it
    /// (`X-Forwarded-For`). It may hold anything.
    pub(super) visitor: Option<&'a str>,
    /// Port of the relay for visitors.
    pub(super) relay_port: u16,
    /// What protects the tunnel, such as "TLS 1.3"; `None` is nothing.
    pub(super) tunnel_tls: Option<&'a str>,
    /// Port of the sample service.
    pub(super) service_port: u16,
}

/// What flies right now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// Since the start.
    pub(super) uptime: Duration,
    /// Tunnels that are open.
    pub(super) tunnels: u64,
    /// Kites that fly, such as `http:kite.localhost`; the page lists the first
    /// 20 of them.
    pub(super) kites: Vec<String>,
    /// Streams that are open.
    pub(super) streams: u64,
    /// Visitors' connections since the start.
    pub(super) visitors: u64,
    /// Bytes that visitors sent.
    pub(super) bytes_from_visitors: u64,
    /// Bytes that visitors got.
    pub(super) bytes_to_visitors: u64,
}

/// The start page, in HTML.
pub(super) fn start(route: &Route<'_>) -> String {
    let (in_picture, in_words) = match route.tunnel_tls {
        Some(version) => (version, format!("protected by {version}")),
        None => ("no TLS", "which has no TLS here".to_owned()),
    };
    let picture = format!(
        include_str!("picture.svg"),
        name = escape(&cut(route.name, MAX_NAME_LETTERS)),
        visitor = escape(&cut(route.visitor.unwrap_or("anywhere"), MAX_ADDRESS_LETTERS)),
        tunnel = escape(&cut(in_picture, MAX_TLS_LETTERS)),
        relay_port = route.relay_port,
        service_port = route.service_port,
    );
    let main = format!(
        include_str!("start.html"),
        kite = KITE,
        picture = picture,
        name = escape(shown(route.name)),
        tunnel = escape(&in_words),
        relay_port = route.relay_port,
        service_port = route.service_port,
    );
    page("It flies", "", &main)
}

/// The status page, in HTML; it loads itself again.
pub(super) fn status_html(status: &Status) -> String {
    let mut main = "<h1>What flies right now</h1><div class=\"tiles\">".to_owned();
    for (label, value) in [
        ("up for", duration(status.uptime)),
        ("tunnels", status.tunnels.to_string()),
        ("kites", status.kites.len().to_string()),
        ("streams now", status.streams.to_string()),
        ("visits so far", status.visitors.to_string()),
        ("from visitors", bytes(status.bytes_from_visitors)),
        ("to visitors", bytes(status.bytes_to_visitors)),
    ] {
        // Infallible, here and below: a String takes every write.
        let _ = write!(main, "<div><b>{value}</b>{label}</div>");
    }
    main.push_str("</div>");
    if !status.kites.is_empty() {
        main.push_str("<ul>");
        for kite in status.kites.iter().take(MAX_LISTED_KITES) {
            let _ = write!(main, "<li><code>{}</code></li>", escape(shown(kite)));
        }
        if let Some(more) = status.kites.len().checked_sub(MAX_LISTED_KITES + 1) {
            let _ = write!(main, "<li>and {} more</li>", more + 1);
        }
        main.push_str("</ul>");
    }
    let _ = write!(
        main,
        "<p><a href=\"/\">How this page comes to you</a></p>\
         <small>This page reloads itself every {REFRESH_SECONDS} seconds · \
         <a href=\"/status.json\">the same as JSON</a></small>"
    );
    let refresh = format!("<meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}\">");
    page("What flies right now", &refresh, &main)
}

/// The status as an object of JSON with a line end.
pub(super) fn status_json(status: &Status) -> String {
    let kites: Vec<String> = status.kites.iter().map(|kite| json_string(kite)).collect();
    format!(
        "{{\"uptime_seconds\":{},\"tunnels\":{},\"kites\":[{}],\"streams\":{},\"visitors\":{},\
         \"bytes_from_visitors\":{},\"bytes_to_visitors\":{}}}\n",
        status.uptime.as_secs(),
        status.tunnels,
        kites.join(","),
        status.streams,
        status.visitors,
        status.bytes_from_visitors,
        status.bytes_to_visitors,
    )
}

fn page(title: &str, head: &str, main: &str) -> String {
    let head = format!("<link rel=\"icon\" href=\"data:,\">{head}");
    document(title, &head, &format!("{PAGE_STYLE}{STYLE}"), main)
}

/// Text as it fits into the picture; `most` letters with the ellipsis.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

/// The two largest units.
fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Three digits and a unit of powers of ten, rounded down.
fn bytes(count: u64) -> String {
    let mut whole = count;
    let mut rest = 0;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB"] {
        if whole < 1000 {
            break;
        }
        rest = whole % 1000 / 100;
        whole /= 1000;
        unit = larger;
    }
    if unit == "B" || whole >= 100 {
        format!("{whole} {unit}")
    } else {
        format!("{whole}.{rest} {unit}")
    }
}

/// RFC 8259 section 7, with quotes around it.
fn json_string(text: &str) -> String {
    let mut string = String::with_capacity(text.len() + 2);
    string.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => string.extend(['\\', letter]),
            '\u{0}'..='\u{1f}' => {
                // Infallible: a String takes every write.
                let _ = write!(string, "\\u{:04x}", u32::from(letter));
            }
            other => string.push(other),
        }
    }
    string.push('"');
    string
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route<'_> = Route {
        name: "kite.localhost",
        visitor: Some("127.0.0.1"),
        relay_port: 8080,
        tunnel_tls: Some("TLS 1.3"),
        service_port: 40123,
    };

    fn status() -> Status {
        Status {
            uptime: Duration::from_millis(3_723_900),
            tunnels: 1,
            kites: vec!["http:kite.localhost".to_owned()],
            streams: 2,
            visitors: 37,
            bytes_from_visitors: 999,
            bytes_to_visitors: 1_234_567,
        }
    }

    #[test]
    fn the_start_page_names_the_parts_and_their_values() {
        let page = start(&ROUTE);
        for part in ["your browser", "relay", "tunnel", "agent", "this page"] {
            assert!(page.contains(&format!(">{part}</text>")), "{part}");
        }
        for value in
            ["kite.localhost", "127.0.0.1<", "port 8080", "port 40123", "TLS 1.3", "It flies"]
        {
            assert!(page.contains(value), "{value}");
        }
        let plain = start(&Route { tunnel_tls: None, visitor: None, ..ROUTE });
        assert!(plain.contains(">no TLS<") && !plain.contains("protected by"));
        assert!(plain.contains(">anywhere<"));
    }

    #[test]
    fn pages_are_small_and_need_nothing_from_elsewhere() {
        for page in [start(&ROUTE), status_html(&status())] {
            assert!(page.len() < 12 * 1024, "{} bytes", page.len());
            for elsewhere in ["http://", "https://", "src=", "url(", "@import", "<script", "\"//"] {
                assert!(!page.contains(elsewhere), "{elsewhere}: {page}");
            }
            assert!(page.contains("width=device-width") && page.contains("prefers-color-scheme"));
        }
    }

    #[test]
    fn what_comes_from_outside_is_no_html() {
        let evil = "\"'><script>alert(1)</script>{name}{0}";
        let route = Route { name: evil, visitor: Some(evil), tunnel_tls: Some(evil), ..ROUTE };
        let kites = vec![evil.to_owned()];
        for page in [start(&route), status_html(&Status { kites, ..Status::default() })] {
            assert!(!page.contains("<script>") && !page.contains("'>"), "{page}");
        }
        let long = "é".repeat(100_000);
        let route = Route { name: &long, visitor: Some(&long), ..ROUTE };
        assert!(start(&route).len() < 12 * 1024);
    }

    #[test]
    fn the_status_page_shows_the_numbers_and_loads_itself_again() {
        let page = status_html(&status());
        assert!(page.contains("<meta http-equiv=\"refresh\" content=\"2\">"));
        for tile in [
            "<b>1 h 2 min</b>up for",
            "<b>1</b>tunnels",
            "<b>1</b>kites",
            "<b>2</b>streams now",
            "<b>37</b>visits so far",
            "<b>999 B</b>from visitors",
            "<b>1.2 MB</b>to visitors",
            "<li><code>http:kite.localhost</code></li>",
        ] {
            assert!(page.contains(tile), "{tile}");
        }
    }

    #[test]
    fn a_long_list_of_kites_is_cut() {
        for (count, more) in
            [(0, None), (20, None), (21, Some("and 1 more")), (500, Some("and 480 more"))]
        {
            let kites = (0..count).map(|number| format!("http:k{number}.example.com")).collect();
            let page = status_html(&Status { kites, ..Status::default() });
            assert_eq!(page.matches("<li><code>").count(), count.min(20));
            assert_eq!(page.contains(" more</li>"), more.is_some());
            assert!(page.contains(more.unwrap_or_default()));
        }
    }

    #[test]
    fn the_json_can_be_read_whatever_the_kites_are_called() {
        let evil = "a\"\\\n\u{1}\u{7f}é</script>".to_owned();
        let status = Status { kites: vec![evil.clone(), String::new()], ..status() };
        let read: serde_json::Value = serde_json::from_str(&status_json(&status)).expect("JSON");
        assert_eq!(
            read,
            serde_json::json!({
                "uptime_seconds": 3723,
                "tunnels": 1,
                "kites": [evil, ""],
                "streams": 2,
                "visitors": 37,
                "bytes_from_visitors": 999,
                "bytes_to_visitors": 1_234_567,
            })
        );
    }

    #[test]
    fn numbers_are_rounded_down_to_what_one_reads_at_a_glance() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1999, "1.9 kB"),
            (99_999, "99.9 kB"),
            (100_000, "100 kB"),
            (999_999, "999 kB"),
            (1_000_000, "1.0 MB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (seconds, text) in [
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3599, "59 min 59 s"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }
}
