//! Who else knows which kites may fly: `authdomain`, `auththreads` and
//! `nameserver` (`protocol.md` 14).

use std::net::{IpAddr, SocketAddr};

use super::super::address::{host_port, is_host_name};
use super::super::environment::Environment;
use super::super::grammar::TypedLine;
use super::super::problem::quoted;
use super::super::relay_settings::{Authority, AuthorityMeans};
use super::super::resolve::number;
use super::super::source::resolve_path;
use super::files::must_be_file;

/// Questions at the same time when `auththreads` is not set.
pub const DEFAULT_AUTHTHREADS: usize = 4;
/// Most that `auththreads` may be: each may be a process.
pub const MAX_AUTHTHREADS: usize = 64;
/// Most `authdomain` lines.
pub const MAX_AUTHORITIES: usize = 64;
/// Port of name servers (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

/// The lines so far.
#[derive(Debug)]
pub(super) struct AuthorityLines {
    pub(super) authorities: Vec<Authority>,
    /// Those that the command line has named.
    typed: Vec<String>,
    pub(super) max_questions: usize,
    pub(super) name_server: Option<SocketAddr>,
}

impl Default for AuthorityLines {
    fn default() -> Self {
        Self {
            authorities: Vec::new(),
            typed: Vec::new(),
            max_questions: DEFAULT_AUTHTHREADS,
            name_server: None,
        }
    }
}

impl AuthorityLines {
    /// `authdomain = [KITEDOMAIN:]SUFFIX` or `[KITEDOMAIN:]/PROGRAM ARGUMENTS`.
    pub(super) fn add(
        &mut self,
        line: &TypedLine,
        environment: &dyn Environment,
    ) -> Result<(), String> {
        let (kite_domain, means) = match line.value.split_once(':') {
            Some((domain, means)) if !domain.contains('/') => (domain, means),
            _ => ("", line.value.as_str()),
        };
        if !kite_domain.is_empty() && !is_host_name(kite_domain) {
            return Err(format!(
                "{} is no DNS name; write the name below which kites are asked about, without *",
                quoted(kite_domain)
            ));
        }
        let kite_domain = kite_domain.to_ascii_lowercase();
        let means = read_means(means, line, environment)?;
        let same = |known: &Authority| known.kite_domain == kite_domain;
        if let Some(index) = self.authorities.iter().position(same) {
            let replaces = line.place.file().is_none() && !self.typed.contains(&kite_domain);
            if !replaces {
                let whom = if kite_domain.is_empty() { "every kite" } else { &kite_domain };
                return Err(format!("another line is for {whom} already; remove one of them"));
            }
            self.authorities.remove(index);
        }
        if self.authorities.len() >= MAX_AUTHORITIES {
            return Err(format!("more than {MAX_AUTHORITIES} lines; remove some"));
        }
        if line.place.file().is_none() {
            self.typed.push(kite_domain.clone());
        }
        self.authorities.push(Authority { kite_domain, means });
        Ok(())
    }

    /// `auththreads = N`.
    pub(super) fn set_threads(&mut self, value: &str) -> Result<(), String> {
        self.max_questions = number(value, 1..=MAX_AUTHTHREADS, "questions at the same time")?;
        Ok(())
    }

    /// `nameserver = ADDRESS[:PORT]`; an empty one is that of the machine.
    pub(super) fn set_name_server(&mut self, value: &str) -> Result<(), String> {
        if value.is_empty() {
            self.name_server = None;
            return Ok(());
        }
        let bare = value.parse::<IpAddr>().ok().map(|address| (address, DNS_PORT));
        let with_port = || {
            let (host, port) = host_port(value, Some(DNS_PORT))?;
            Some((host.parse().ok()?, port))
        };
        let (address, port) = bare.or_else(with_port).ok_or_else(|| {
            format!(
                "{} is no address; write 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353",
                quoted(value)
            )
        })?;
        self.name_server = Some(SocketAddr::new(address, port));
        Ok(())
    }
}

fn read_means(
    text: &str,
    line: &TypedLine,
    environment: &dyn Environment,
) -> Result<AuthorityMeans, String> {
    const SHAPE: &str = "is written [KITEDOMAIN:]SUFFIX, such as auth.example.com, or \
         [KITEDOMAIN:]/PROGRAM ARGUMENTS";
    if !text.contains('/') {
        let suffix = text.trim_matches('.');
        if !is_host_name(suffix) {
            return Err(SHAPE.into());
        }
        return Ok(AuthorityMeans::Dns(suffix.to_ascii_lowercase()));
    }
    if text.contains(['"', '\'', '\\']) {
        return Err("arguments are parted by blanks and quotes mean nothing; write a script that \
             calls the program"
            .into());
    }
    let mut words = text.split_whitespace();
    let program = words.next().filter(|word| word.contains('/')).ok_or(SHAPE)?;
    let path = resolve_path(&line.place, program, environment);
    must_be_file(&path, environment)?;
    Ok(AuthorityMeans::Program { path, arguments: words.map(str::to_owned).collect() })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{mistakes_with, settings_with};
    use super::*;
    use std::path::PathBuf;

    const PROGRAM: [(&str, &str); 1] = [("/usr/bin/who", "")];

    #[test]
    fn dns_and_programs_are_told_apart_by_the_slash() {
        let read = settings_with(
            "authdomain = Auth.example.com.\nauthdomain = Kites.example.com : /usr/bin/who -q x
            auththreads = 9\nnameserver = 2001:db8::53",
            &PROGRAM,
        );
        let program = AuthorityMeans::Program {
            path: PathBuf::from("/usr/bin/who"),
            arguments: vec!["-q".into(), "x".into()],
        };
        let expected = [
            Authority {
                kite_domain: String::new(),
                means: AuthorityMeans::Dns("auth.example.com".into()),
            },
            Authority { kite_domain: "kites.example.com".into(), means: program },
        ];
        assert_eq!(read.authorities, expected);
        assert_eq!(read.max_questions, 9);
        assert_eq!(read.name_server, "[2001:db8::53]:53".parse().ok());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("authdomain =", "is written [KITEDOMAIN:]SUFFIX"),
            ("authdomain = *.a:b.c", "is no DNS name"),
            ("authdomain = a b", "is written [KITEDOMAIN:]SUFFIX"),
            ("authdomain = /none", "/none does not exist"),
            ("authdomain = /usr/bin", "/usr/bin is a folder"),
            ("authdomain = /usr/bin/who 'a b'", "quotes mean nothing"),
            ("authdomain = a.b\nauthdomain = c.d", "for every kite already"),
            ("auththreads = 65", "from 1 to 64"),
            ("nameserver = dns.example.com", "is no address"),
            ("nameserver = 192.0.2.1:0", "is no address"),
        ] {
            let told = mistakes_with(text, &PROGRAM);
            assert!(told.contains(part), "{text}: {told}");
        }
    }
}
