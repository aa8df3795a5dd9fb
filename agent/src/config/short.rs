//! The short form: `kitelet 8080 NAME +flag AND 22 ssh://NAME` in PageKite's
//! friendly words (features B and C). Pure: words in, kites out.

use super::flags::{holds_secret, short_flag};
use super::service::{Protocol, protocols, short_origin};
use super::settings::Origin;

/// Most kites that a command line may name.
const MAX_SHORT_KITES: usize = 64;
const SHAPE: &str = "write: kitelet PORT NAME, such as kitelet 8080 box.example.com";
const NO_SECRET: &str = "only +flags and AND may follow the name; a secret never goes on the \
     command line, where every user of this machine can read it";

/// A kite as the short form names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShortKite {
    pub(super) protocols: Vec<Protocol>,
    /// The name of the kite, possibly `@kitename`.
    pub(super) domain: String,
    pub(super) origin: Origin,
    /// Flags as key and value; any of them replaces those of the files.
    pub(super) flags: Vec<(String, String)>,
    /// What was noticed, for a warning.
    pub(super) notes: Vec<String>,
}

/// Reads the words of the short form.
///
/// # Errors
/// What is wrong and how it is written; never a word that may be a secret.
pub fn read_short_form(words: &[String]) -> Result<Vec<ShortKite>, String> {
    let mut kites = Vec::new();
    for set in words.split(|word| word == "AND") {
        if kites.len() >= MAX_SHORT_KITES {
            return Err(format!(
                "more than {MAX_SHORT_KITES} kites; write them in a file and use kitelet run -c FILE"
            ));
        }
        kites.push(read_kite(set)?);
    }
    Ok(kites)
}

fn read_kite(words: &[String]) -> Result<ShortKite, String> {
    let (flags, words): (Vec<&String>, Vec<&String>) =
        words.iter().partition(|word| word.starts_with('+'));
    let (origin, name) = match words.as_slice() {
        [name] => ("80", name.as_str()),
        [origin, name] => (origin.as_str(), name.as_str()),
        [] => return Err(SHAPE.into()),
        [..] => return Err(NO_SECRET.into()),
    };
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("the name of the kite comes after the port; {SHAPE}"));
    }
    let mut notes = Vec::new();
    let (protocols, domain) = read_name(name, &mut notes)?;
    Ok(ShortKite {
        protocols,
        domain,
        origin: short_origin(origin)?,
        flags: flags.into_iter().map(|flag| read_flag(flag)).collect::<Result<_, _>>()?,
        notes,
    })
}

/// Reads `[PROTO[,PROTO]://]NAME[:PORT]`.
fn read_name(text: &str, notes: &mut Vec<String>) -> Result<(Vec<Protocol>, String), String> {
    let (list, rest) = text.split_once("://").unwrap_or(("http", text));
    let rest = rest.trim_end_matches('/');
    let (domain, digits) = match rest.split_once(':') {
        Some((domain, digits)) => (domain, Some(digits)),
        None => (rest, None),
    };
    if digits.is_some_and(|digits| digits.contains(':')) {
        return Err(NO_SECRET.into());
    }
    // A kite's name is a DNS name; a word without a dot is a mistyped command.
    if !domain.contains('.') && domain != "@kitename" {
        return Err(format!("the name of a kite has a dot in it; {SHAPE}"));
    }
    let mut protocols = protocols(list, notes)?;
    if let Some(digits) = digits {
        let port = super::address::port(digits)
            .ok_or("the public port behind the name is a number from 1 to 65535")?;
        protocols = protocols.into_iter().map(|protocol| protocol.on_port(port)).collect();
    }
    Ok((protocols, domain.to_ascii_lowercase()))
}

fn read_flag(word: &str) -> Result<(String, String), String> {
    let (key, value) = short_flag(word.trim_start_matches('+'));
    if holds_secret(key) {
        return Err(format!(
            "a password never goes on the command line; write it in a file: \
             service_cfg = NAME/80 : {} : PASSWORD",
            super::problem::quoted(key)
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Vec<ShortKite>, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        read_short_form(&words)
    }

    #[test]
    fn reads_friendly_words() {
        for (line, kites, origin) in [
            ("a.example.com", "http:a.example.com", "localhost:80"),
            ("8080 A.example.com", "http:a.example.com", "localhost:8080"),
            ("8080 http://a.example.com/", "http:a.example.com", "localhost:8080"),
            ("nas:5000 a.example.com:8443", "http-8443:a.example.com", "nas:5000"),
            ("22 ssh://a.example.com", "raw-22:a.example.com", "localhost:22"),
            ("[::1]:5900 raw://a.example.com:5900", "raw-5900:a.example.com", "[::1]:5900"),
            (
                "443 http,https://a.example.com",
                "http:a.example.com https:a.example.com",
                "localhost:443",
            ),
            ("unix:/run/w a.example.com", "http:a.example.com", "unix:/run/w"),
        ] {
            let kite = read(line).expect(line).remove(0);
            let ids = kite.protocols.iter();
            let ids: Vec<_> =
                ids.map(|protocol| protocol.kite(&kite.domain).expect(line).to_string()).collect();
            assert_eq!(ids.join(" "), kites, "{line}");
            assert_eq!(kite.origin.to_string(), origin, "{line}");
        }
    }

    #[test]
    fn reads_several_kites_with_flags() {
        let kites = read("80 a.b +insecure +norawheaders AND 22 ssh://a.b +ip/::1").expect("valid");
        assert_eq!(kites.len(), 2);
        assert_eq!(kites[0].flags[1], ("rawheaders".into(), "False".into()));
        assert_eq!(kites[1].flags[0], ("ip/::1".into(), "True".into()));
    }

    #[test]
    fn says_how_it_is_written_and_repeats_no_secret() {
        for (line, part) in [
            ("", "has a dot"),
            ("AND", "kitelet PORT NAME"),
            ("8080", "comes after the port"),
            ("a.b 8080", "comes after the port"),
            ("chek", "has a dot"),
            ("80 a.b s3cret", "never goes on the command line"),
            ("http:a.b:localhost:80:s3cret", "never goes on the command line"),
            ("80 http a.b 80 s3cret", "never goes on the command line"),
            ("80 a.b +password/bob=s3cret", "service_cfg = NAME/80 : password/bob : PASSWORD"),
            ("80 a.b:x", "public port"),
            ("builtin a.b", "no built-in web server"),
            ("/srv/www a.b", "no built-in web server"),
            ("70000 a.b", "PORT, HOST:PORT or unix:/PATH"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
            assert!(!error.contains("s3cret"), "{line}: {error}");
        }
        assert!(read(&vec!["a.b"; MAX_SHORT_KITES + 1].join(" AND ")).is_err());
    }
}
