//! The kites file: a line for each kite that may fly, with its secret and what
//! it may use. It is made for thousands of kites and for a relay that runs: a
//! bad line is told and does not spoil the others.
//!
//! A line is `PROTO[,PROTO]:NAME:SECRET [bytes=N] [conns=N] [streams=N]`; `#`
//! begins a remark. One name on several lines has several secrets.

use std::io;
use std::path::Path;
use std::rc::Rc;

use super::super::environment::Environment;
use super::super::problem::{Place, Problem, Problems, Report};
use super::super::relay_settings::{Grant, KiteQuota};
use super::super::secrets::warn_exposed;
use super::grants::{grant_text, protocols};
use super::limits::quota;

/// Largest kites file, in bytes: twice what as many kites as may be take.
pub const MAX_KITES_FILE_BYTES: usize = 64 * 1024 * 1024;
/// Most kites in the file; each takes about half a kilobyte of memory.
pub const MAX_KITE_LINES: usize = 262_144;
/// Longest line, in bytes: a name of 253 and a secret of 255 bytes, every
/// protocol, and the quotas.
pub const MAX_KITE_LINE_BYTES: usize = 1024;

/// Reads the kites file at `path`.
///
/// # Errors
/// Why there are no kites at all, and the mend.
pub fn load_kites(
    path: &Path,
    offered: &[String],
    environment: &dyn Environment,
) -> Result<(Vec<Grant>, Problems), Problem> {
    let problem = |text: String| Problem { place: Place::path(path), option: String::new(), text };
    let read = environment.read(path, MAX_KITES_FILE_BYTES).map_err(|error| {
        problem(match error.kind() {
            io::ErrorKind::NotFound => MISSING.into(),
            io::ErrorKind::PermissionDenied => {
                "may not be read by this user; give it to the user that kitelet runs as".into()
            }
            _ => format!("cannot be read ({error}); mend or remove it"),
        })
    })?;
    if read.bytes.len() > MAX_KITES_FILE_BYTES {
        let text = format!("is larger than {MAX_KITES_FILE_BYTES} bytes; take lines out");
        return Err(problem(text));
    }
    let mut report = Report::new();
    if read.world_readable {
        warn_exposed(&Place::path(path), &mut report);
    }
    let grants = read_lines(&read.bytes, path, offered, &mut report);
    Ok((grants, report.warnings))
}

/// What to do when there is no kites file.
pub(super) const MISSING: &str = "does not exist; make it with: kitelet relay add NAME";

/// Understands the bytes of a kites file; `path` is for the messages and
/// `offered` are the protocols of the relay (`protos`). Lines that cannot be
/// used are left out and told, never with their secret.
pub fn read_kites(bytes: &[u8], path: &Path, offered: &[String]) -> (Vec<Grant>, Problems) {
    let mut report = Report::new();
    let grants = read_lines(bytes, path, offered, &mut report);
    (grants, report.warnings)
}

fn read_lines(bytes: &[u8], path: &Path, offered: &[String], report: &mut Report) -> Vec<Grant> {
    let file: Rc<Path> = Rc::from(path);
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut grants = Vec::new();
    let mut number = 0u32;
    for line in bytes.split(|&byte| byte == b'\n') {
        number = number.saturating_add(1);
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let place = Place::line(&file, number);
        if grants.len() >= MAX_KITE_LINES {
            let text = format!(
                "more than {MAX_KITE_LINES} kites, and those from here on are left out; take \
                 lines out"
            );
            report.warning(&place, "", text);
            break;
        }
        let mut notes = Vec::new();
        match read_line(line, offered, &mut notes) {
            Ok(grant) => grants.push(grant),
            Err(text) => notes.push(format!("left out: {text}")),
        }
        for note in notes {
            report.warning(&place, "", note);
        }
    }
    grants
}

fn read_line(line: &[u8], offered: &[String], notes: &mut Vec<String>) -> Result<Grant, String> {
    if line.len() > MAX_KITE_LINE_BYTES {
        return Err(format!("the line is longer than {MAX_KITE_LINE_BYTES} bytes; shorten it"));
    }
    let line = std::str::from_utf8(line)
        .map_err(|_| "the line is not UTF-8 text; write names and secrets in ASCII")?;
    let mut words = line.split_ascii_whitespace();
    let grant = grant_text(words.next().unwrap_or_default())?;
    let mut quota = KiteQuota::default();
    for word in words.take_while(|word| !word.starts_with('#')) {
        quota_word(word, &mut quota)?;
    }
    let protocols = protocols(grant.protocols, offered, notes)?;
    notes.extend(grant.doubt.map(str::to_owned));
    Ok(Grant { protocols, domain: grant.domain, secret: grant.secret, quota })
}

/// Reads `bytes=10G`, `conns=1000` or `streams=20`.
fn quota_word(word: &str, all: &mut KiteQuota) -> Result<(), String> {
    const SHAPE: &str = "what follows the secret is no quota; write bytes=10G, conns=1000 or \
         streams=20, without blanks round the =, and no blank in PROTOCOLS:NAME:SECRET";
    let (key, value) = word.split_once('=').ok_or(SHAPE)?;
    let (field, key, suffixes) = match key {
        "bytes" => (&mut all.bytes_per_day, "bytes", true),
        "conns" => (&mut all.connections_per_day, "conns", false),
        "streams" => (&mut all.streams, "streams", false),
        _ => return Err(SHAPE.into()),
    };
    *field = Some(quota(value, suffixes).map_err(|text| format!("{key} {text}"))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::environment::Fake;
    use super::super::ports::DEFAULT_PROTOCOLS;
    use super::*;
    use crate::wire::Secret;

    fn offered() -> Vec<String> {
        DEFAULT_PROTOCOLS.map(str::to_owned).to_vec()
    }

    fn read(bytes: &[u8]) -> (Vec<Grant>, String) {
        let (grants, problems) = read_kites(bytes, Path::new("/k/kites"), &offered());
        (grants, problems.to_string())
    }

    #[test]
    fn a_line_is_a_kite_with_its_secret_and_its_quota() {
        let text = "\u{feff}# our kites\r\n\r\n  http,https:Box.example.com:first-secret\r\n\
             raw-22:box.example.com:other-secret bytes=10G conns=1000 streams=20 # of Bob\n\
             *:*.example.com:third-secret";
        let (grants, problems) = read(text.as_bytes());
        assert_eq!(problems, "");
        assert_eq!(grants.len(), 3);
        assert_eq!(grants[0].domain, "box.example.com");
        assert_eq!(grants[0].protocols, [("http".into(), None), ("https".into(), None)]);
        assert_eq!(grants[0].quota, KiteQuota::default());
        assert_eq!(grants[1].secret, Secret::new("other-secret"));
        let quota = KiteQuota {
            bytes_per_day: Some(10 * 1024 * 1024 * 1024),
            connections_per_day: Some(1000),
            streams: Some(20),
        };
        assert_eq!(grants[1].quota, quota);
        assert_eq!(grants[2].protocols.len(), DEFAULT_PROTOCOLS.len());
    }

    #[test]
    fn a_bad_line_is_told_and_spoils_no_good_one() {
        let long = format!("http:a.b:{}", "x".repeat(2000));
        for (bad, part) in [
            ("s3cretword", "is written PROTOCOLS:NAME:SECRET"),
            ("http : a.b : s3cretword", "is written PROTOCOLS:NAME:SECRET"),
            ("http:a.b:s3cretword bytes=s3cret", "bytes is a number"),
            ("http:a.b:s3cretword conns=1G", "conns is a number"),
            ("http:a.b:s3cretword streams=0", "streams is a number"),
            ("http:a.b:s3cretword s3cret", "what follows the secret"),
            ("http:a.b:s3cretword quota=1", "what follows the secret"),
            ("htp:a.b:s3cretword", "did you mean http"),
            ("http:a.b:s3cr\u{7f}", "of ASCII"),
            (&long, "longer than 1024 bytes"),
        ] {
            let text = format!("http:x.y:good-secret\n{bad}\nhttp:z.y:good-secret");
            let (grants, problems) = read(text.as_bytes());
            assert_eq!(grants.len(), 2, "{bad}");
            assert!(problems.starts_with("/k/kites:2: left out: "), "{problems}");
            assert!(problems.contains(part) && !problems.contains("s3cr"), "{problems}");
        }
        let (grants, problems) = read(b"http:x.y:good-secret\n\xff\xfe");
        assert_eq!(grants.len(), 1);
        assert!(problems.contains("not UTF-8"), "{problems}");
        let (grants, problems) = read(b"http:x.y:short");
        assert_eq!(grants.len(), 1);
        assert!(problems.contains("so short that it can be guessed"), "{problems}");
    }

    #[test]
    fn a_hundred_thousand_kites_are_read_and_the_rest_is_counted() {
        use std::fmt::Write as _;
        let mut text = String::new();
        for number in 0..100_000 {
            let _ = writeln!(text, "http,https,raw:k{number}.example.com:secret-{number}");
        }
        assert_eq!(read(text.as_bytes()).0.len(), 100_000);
        let many = "*:a.b:good-secret\n".repeat(MAX_KITE_LINES + 1);
        let (grants, problems) = read(many.replace('*', "http").as_bytes());
        assert_eq!(grants.len(), MAX_KITE_LINES);
        assert!(problems.contains("from here on are left out"), "{problems}");
        let (_, problems) = read("x\n".repeat(1000).as_bytes());
        assert!(problems.ends_with("... and 950 more"), "{problems}");
    }

    #[test]
    fn a_file_that_cannot_be_read_says_what_to_do() {
        let mut environment = Fake::with(&[("/kites", "http:a.b:good-secret")]);
        environment.readable.push("/kites".into());
        let (grants, problems) =
            load_kites(Path::new("/kites"), &offered(), &environment).expect("kites");
        assert_eq!(grants.len(), 1);
        assert!(problems.to_string().contains("chmod o-r /kites"));
        let error = load_kites(Path::new("/none"), &offered(), &environment).expect_err("none");
        assert_eq!(
            error.to_string(),
            "/none: does not exist; make it with: kitelet relay add NAME"
        );
    }
}
