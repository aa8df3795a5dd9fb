//! What visitors and operators rely on in the relay's pages.

use std::collections::HashSet;

use super::*;

const ABSENCES: [Absence; 3] = [Absence::Away, Absence::Unknown, Absence::OverQuota];

const EVERY: [NotServed; 9] = [
    NotServed::Unavailable(Absence::Away),
    NotServed::Unavailable(Absence::Unknown),
    NotServed::Unavailable(Absence::OverQuota),
    NotServed::BadRequest { problem: "it names no host" },
    NotServed::Forbidden,
    NotServed::Misdirected,
    NotServed::TooMany,
    NotServed::HeadTooLarge,
    NotServed::NotImplemented { problem: "its method is <unknown>" },
];

fn plain(reveal: bool) -> Pages {
    Pages::new(None, Vec::new(), reveal)
}

fn branded(template: &str) -> Pages {
    Pages::new(Some(Template::parse(template).expect("a template")), Vec::new(), false)
}

fn framing(url: &str) -> Pages {
    Pages::new(None, vec![(String::new(), url.to_owned())], false)
}

fn visit(host: &str) -> Visit<'_> {
    Visit { host, protocol: "http", relay: Some("192.0.2.1".parse().expect("an address")) }
}

fn response(pages: &Pages, reason: NotServed, html: bool) -> String {
    let bytes = pages.response(reason, &visit("kite.example.com"), html, false);
    String::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn a_stranger_learns_no_names() {
    let template = "<p>{title} {text} {hint} {name} {status} {refresh}";
    for pages in [plain(false), branded(template), framing("https://example.com/off")] {
        for html in [true, false] {
            let answers: HashSet<_> = ABSENCES
                .iter()
                .map(|absence| response(&pages, NotServed::Unavailable(*absence), html))
                .collect();
            assert_eq!(answers.len(), 1, "{answers:?}");
            let answer = answers.iter().next().expect("one");
            assert!(answer.starts_with("HTTP/1.1 503 "));
            assert!(answer.contains("\r\nRetry-After: 30\r\n"));
        }
    }
}

#[test]
fn with_reveal_kites_the_reasons_are_told() {
    let words = ["not connected", "knows no device", "as much traffic"];
    for (absence, word) in ABSENCES.iter().zip(words) {
        for html in [true, false] {
            let answer = response(&plain(true), NotServed::Unavailable(*absence), html);
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains(word), "{answer}");
        }
    }
}

#[test]
fn each_reason_has_its_status_and_says_what_to_do() {
    let codes = [503, 503, 503, 400, 403, 421, 429, 431, 501];
    for (reason, code) in EVERY.iter().zip(codes) {
        let answer = response(&plain(true), *reason, false);
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        assert!(answer.contains("kite.example.com") && answer.contains("lease "), "{answer}");
        assert_eq!(answer.contains("Retry-After"), matches!(code, 503 | 429));
    }
    let answer = response(&plain(false), EVERY[3], false);
    assert!(answer.contains("cannot be passed on, because it names no host. Please"), "{answer}");
}

#[test]
fn pages_are_small_and_need_nothing_from_elsewhere() {
    let longest = "n".repeat(1000);
    for reason in EVERY {
        for reveal in [false, true] {
            let page = plain(reveal).body(reason, &visit(&longest)).html;
            assert!(page.len() < 4096, "{} bytes", page.len());
            for elsewhere in ["http:", "https:", "src=", "url(", "@import", "<script", "//"] {
                assert!(!page.contains(elsewhere), "{elsewhere}: {page}");
            }
        }
    }
}

#[test]
fn only_a_page_that_waiting_helps_reloads_itself() {
    for reason in EVERY {
        let page = plain(true).body(reason, &visit("a")).html;
        let reloads = page.contains("http-equiv=\"refresh\" content=\"30\"");
        assert_eq!(reloads, reason == NotServed::Unavailable(Absence::Away));
    }
    assert!(plain(false).body(EVERY[1], &visit("a")).html.contains("http-equiv=\"refresh\""));
}

#[test]
fn what_comes_from_outside_is_no_html() {
    let template = "<script>x='{name}'</script><a href={name} title=\"{text}\">{name}</a>";
    let harmless = branded(template).body(EVERY[0], &visit("x")).html;
    for evil in [
        "\"'><script>alert(1)</script>&",
        "a b=c onload=alert(1)",
        "a\\",
        "{title}",
        "javascript&colon;alert(1)",
        "é\u{202e}moc",
        "a\r\nSet-Cookie: b=c",
        "",
    ] {
        let evil_visit = Visit { protocol: evil, ..visit(evil) };
        for pages in [plain(false), plain(true), framing("https://e.org/?a=\"><script>")] {
            for reason in EVERY {
                let Body { html, text } = pages.body(reason, &evil_visit);
                assert!(!html.contains("<script>") && !html.contains("'>"), "{html}");
                assert!(!html.contains("<unknown>"), "{html}");
                assert!(text.contains("this address") && text.lines().count() == 1, "{text}");
                let whole = pages.response(reason, &evil_visit, true, false);
                assert!(!String::from_utf8(whole).expect("UTF-8").contains("\nSet-Cookie"));
            }
        }
        // A template may put the name even where escaping protects nothing.
        let filled = branded(template).body(EVERY[0], &evil_visit).html;
        let expected = harmless.replace("'x'", "'this address'").replace("=x ", "=this address ");
        assert_eq!(
            filled,
            expected.replace(">x<", ">this address<").replace("at x.", "at this address.")
        );
    }
}

#[test]
fn an_error_url_is_framed() {
    let page = framing("https://example.com/off/?").body(EVERY[0], &visit("kite.example.com")).html;
    assert!(
        page.contains(
            "src=\"https://example.com/off/?&amp;where=FE&amp;proto=http&amp;\
             domain=kite.example.com&amp;relay=192.0.2.1\""
        ),
        "{page}"
    );
    assert!(page.contains("<noframes>") && page.contains("cols=\"*\""));
    let relay = Some("::ffff:192.0.2.1".parse().expect("an address"));
    let mapped = Visit { relay, ..visit("a&b") };
    let page = framing("https://example.com/off").body(EVERY[0], &mapped).html;
    assert!(page.contains("domain=a%26b&amp;relay=192.0.2.1\""), "{page}");
    let nowhere = Visit { relay: None, ..visit("a") };
    let page = framing("https://example.com/off").body(EVERY[0], &nowhere).html;
    assert!(page.contains("domain=a\""), "{page}");
}

#[test]
fn an_error_url_is_for_absent_kites_and_goes_before_the_template() {
    let template = Template::parse("<p>own: {status} {text}").expect("a template");
    let urls = vec![("example.com".to_owned(), "https://example.com/off".to_owned())];
    let pages = Pages::new(Some(template), urls, false);
    assert!(pages.body(EVERY[0], &visit("a.example.com")).html.contains("<frameset"));
    assert!(pages.body(EVERY[0], &visit("a.example.net")).html.starts_with("<p>own: 503 Nothing"));
    for (reason, start) in EVERY[3..].iter().zip(["400", "403", "421", "429", "431", "501"]) {
        let page = pages.body(*reason, &visit("a.example.com")).html;
        assert!(page.starts_with(&format!("<p>own: {start} ")), "{page}");
    }
}

#[test]
fn a_template_is_filled_for_every_reason() {
    let pages = branded("{status}|{title}|{name}|{refresh}");
    assert_eq!(
        pages.body(EVERY[0], &visit("a.example.com")).html,
        "503|Not reachable right now|a.example.com|30"
    );
    assert_eq!(pages.body(EVERY[4], &visit("")).html, "403|Not open to you|this address|");
}

#[test]
fn a_page_however_often_it_repeats_the_name_is_bounded() {
    let template = "{text}".repeat(template::MAX_PLACEHOLDERS);
    let page = branded(&template).body(EVERY[8], &visit(&"n".repeat(100_000))).html;
    assert!(page.len() < 64 * 1024, "{} bytes", page.len());
}

#[test]
fn the_length_is_that_of_the_body_and_head_gets_none() {
    for html in [true, false] {
        let whole = response(&plain(false), EVERY[0], html);
        let (head, body) = whole.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        let kind = if html { "text/html" } else { "text/plain" };
        assert!(head.contains(&format!("\r\nContent-Type: {kind}; charset=utf-8\r\n")));
        let only = plain(false).response(EVERY[0], &visit("kite.example.com"), html, true);
        assert_eq!(String::from_utf8(only).expect("UTF-8"), format!("{head}\r\n\r\n"));
    }
}

#[test]
fn browsers_get_a_page_and_programs_a_line() {
    for (accept, html) in [
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
        ("*/*;q=0.1 , Text/HTML ;q=0.9", true),
        ("application/xhtml+xml", true),
        ("text/html;q=0.001", true),
        ("text/html;level=1", true),
        ("*/*", false),
        ("text/*", false),
        ("application/json", false),
        ("image/avif,image/webp,*/*;q=0.8", false),
        ("text/html;q=0", false),
        ("text/html; Q=0.000", false),
        ("application/text/html", false),
        ("text/htmlx", false),
        ("", false),
        (";,;=,q=", false),
    ] {
        assert_eq!(wants_html(Some(accept.as_bytes())), html, "{accept}");
    }
    assert!(!wants_html(None));
    assert!(!wants_html(Some(b"\xff\x00,\x80")));
}
