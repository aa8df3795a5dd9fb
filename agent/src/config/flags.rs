//! What is done to a kite's visitors: `service_cfg = NAME/PORT : KEY : VALUE`
//! in files, `+key`, `+key=value` and `+nokey` in the short form
//! (`protocol.md` 13.3, features C).
//!
//! The line is cut at two colons only, so a value may hold more of them. The
//! key `ip/ADDRESS` may hold colons itself, with IPv6: then the value is the
//! text behind the last colon, and has to be `True`.

use super::address::{RANGE, address_range, host_port, port};
use super::nearest::nearest;
use super::problem::quoted;
use super::settings::{HealthCheck, KiteFlags, ProxyProtocol, RewriteHost};
use crate::wire::Secret;

/// Most `ip/` entries of one kite.
pub const MAX_ADDRESS_RANGES: usize = 256;
/// Most `password/` entries of one kite.
pub const MAX_PASSWORDS: usize = 64;
/// Longest user name of a `password/` entry, in bytes.
const MAX_USER_BYTES: usize = 128;
/// The public port that stands for "no port of its own".
pub(super) const PORT_OF_NONE: u16 = 80;

const KNOWN: [&str; 8] = [
    "ip/",
    "password/",
    "user/",
    "rewritehost",
    "rawheaders",
    "insecure",
    "proxyproto",
    "healthcheck",
];
/// Longest path of a health check, in bytes.
const MAX_PATH_BYTES: usize = 256;
/// Flags of PageKite's built-in web server.
const WEB_SERVER: [&str; 12] = [
    "indexes",
    "hide",
    "uploads",
    "ul_filenames",
    "cgi",
    "photobackup",
    "console",
    "yamon",
    "xmlrpc",
    "channels",
    "pk-shtml",
    "root",
];
const SHAPE: &str = "is not a flag; write NAME/PORT : KEY : VALUE, such as \
     box.example.com/80 : insecure : True";

/// Which kites a flag is for, and the flag. Not `Debug`: the value may be a
/// password.
pub(super) struct FlagLine<'a> {
    pub(super) domain: &'a str,
    /// The public port; [`PORT_OF_NONE`] also means kites without one.
    pub(super) port: u16,
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// Cuts the value of `service_cfg` into its parts.
///
/// # Errors
/// How the line is written.
pub(super) fn flag_line(text: &str) -> Result<FlagLine<'_>, String> {
    let (target, rest) = text.split_once(':').ok_or(SHAPE)?;
    let (domain, digits) = target.split_once('/').unwrap_or((target, "80"));
    let port = port(digits).ok_or(SHAPE)?;
    let first = rest.split_once(':');
    let is_range =
        |key: &str| key.strip_prefix("ip/").is_some_and(|range| address_range(range).is_some());
    let cut = if rest.starts_with("ip/") && !first.is_some_and(|(key, _)| is_range(key)) {
        rest.rsplit_once(':').filter(|(_, value)| truth(value).is_some())
    } else {
        first
    };
    let (key, value) = cut.ok_or_else(|| {
        if rest.starts_with("ip/") {
            "the value is missing; write NAME/PORT : ip/ADDRESS : True".to_owned()
        } else {
            SHAPE.to_owned()
        }
    })?;
    if domain.is_empty() || key.is_empty() {
        return Err(SHAPE.into());
    }
    Ok(FlagLine { domain, port, key, value })
}

/// Cuts `+key=value`, `+key` or `+nokey`; the text is without the `+`.
pub(super) fn short_flag(text: &str) -> (&str, &str) {
    if let Some((key, value)) = text.split_once('=') {
        return (key, value);
    }
    match text.strip_prefix("no") {
        Some(key) if is_key(key) => (key, "False"),
        _ => (text, "True"),
    }
}

/// Whether the value of this key is a secret.
pub(super) fn holds_secret(key: &str) -> bool {
    user(key).is_some() || key == "photobackup"
}

/// Whether the key can be obeyed for kites only whose visitors speak HTTP that
/// the agent can read.
pub(super) fn needs_http(key: &str) -> bool {
    user(key).is_some() || matches!(key, "rewritehost" | "rawheaders")
}

/// Sets one flag. `Ok` may carry a doubt, for a warning.
///
/// # Errors
/// What is wrong and the mend.
pub(super) fn set_flag(
    flags: &mut KiteFlags,
    key: &str,
    value: &str,
) -> Result<Option<String>, String> {
    if let Some(range) = key.strip_prefix("ip/") {
        return allow(flags, range, value);
    }
    if let Some(user) = user(key) {
        return set_password(flags, user, value);
    }
    match key {
        "rawheaders" => flags.raw_headers = needed_truth(key, value)?,
        "insecure" => flags.insecure = needed_truth(key, value)?,
        "healthcheck" => {
            flags.health_check = match value {
                "" => None,
                path if path.starts_with('/') => {
                    if path.len() > MAX_PATH_BYTES || !path.bytes().all(|b| b.is_ascii_graphic()) {
                        return Err(format!(
                            "the path of a health check is ASCII without spaces, at most \
                             {MAX_PATH_BYTES} bytes"
                        ));
                    }
                    Some(HealthCheck::Http(path.to_owned()))
                }
                word if word.eq_ignore_ascii_case("tcp") => Some(HealthCheck::Tcp),
                word => match truth(word) {
                    Some(true) => Some(HealthCheck::Tcp),
                    Some(false) => None,
                    None => return Err("is tcp, or a path such as /status".into()),
                },
            };
        }
        "proxyproto" => {
            flags.proxy_protocol = match value.to_ascii_lowercase().as_str() {
                "v1" => Some(ProxyProtocol::V1),
                "v2" => Some(ProxyProtocol::V2),
                word => match truth(word) {
                    Some(on) => on.then_some(ProxyProtocol::V1),
                    None => return Err("proxyproto is True, False, v1 or v2".into()),
                },
            };
        }
        "rewritehost" => {
            flags.rewrite_host = match truth(value) {
                Some(on) => on.then_some(RewriteHost::Origin),
                None if is_host_header(value) => Some(RewriteHost::Name(value.to_owned())),
                None => return Err("rewritehost is True, False or a HOST or HOST:PORT".into()),
            };
        }
        _ => return Ok(doubt(key, value)),
    }
    Ok(None)
}

fn allow(flags: &mut KiteFlags, range: &str, value: &str) -> Result<Option<String>, String> {
    let range = address_range(range).ok_or_else(|| format!("{} {RANGE}", quoted(range)))?;
    if truth(value) == Some(false) {
        return Err("an ip/ flag only lets in; remove the line to take the address back".into());
    }
    if !flags.allowed.contains(&range) {
        if flags.allowed.len() >= MAX_ADDRESS_RANGES {
            return Err(format!(
                "more than {MAX_ADDRESS_RANGES} addresses for one kite; write ranges such as \
                 ip/192.0.2.0/24"
            ));
        }
        flags.allowed.push(range);
    }
    Ok(None)
}

fn set_password(flags: &mut KiteFlags, user: &str, value: &str) -> Result<Option<String>, String> {
    if user.is_empty() || user.len() > MAX_USER_BYTES {
        return Err("the user is missing or too long; write password/USER : PASSWORD".into());
    }
    if value.is_empty() || truth(value).is_some() {
        return Err("the password is missing; write password/USER : PASSWORD".into());
    }
    flags.passwords.retain(|(known, _)| known != user);
    if flags.passwords.len() >= MAX_PASSWORDS {
        return Err(format!("more than {MAX_PASSWORDS} users for one kite; remove some"));
    }
    let password = Secret::new(value.as_bytes());
    flags.passwords.push((user.to_owned(), password));
    Ok(None)
}

/// The user of `password/USER` or its older name `user/USER`.
fn user(key: &str) -> Option<&str> {
    key.strip_prefix("password/").or_else(|| key.strip_prefix("user/"))
}

/// A warning about a flag that does nothing here.
fn doubt(key: &str, value: &str) -> Option<String> {
    if WEB_SERVER.contains(&key) {
        let off = truth(value) == Some(false);
        return (!off).then(|| {
            format!("{key} needs PageKite's built-in web server and has no effect; use a web server of your own")
        });
    }
    let word = key.split_inclusive('/').next().unwrap_or(key);
    let key = quoted(word);
    Some(match nearest(word, KNOWN) {
        Some(near) => format!("{key} is no flag and has no effect; did you mean {near}?"),
        None => format!("{key} is no flag and has no effect; remove the line"),
    })
}

/// Whether `+noKEY` can be meant.
fn is_key(key: &str) -> bool {
    user(key).is_some()
        || key.starts_with("ip/")
        || KNOWN.contains(&key)
        || WEB_SERVER.contains(&key)
}

/// PageKite's `True`, `False` and `None`, and what people write for them.
fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" | "none" => Some(false),
        _ => None,
    }
}

fn needed_truth(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => truth(value).ok_or_else(|| format!("{key} is True or False")),
    }
}

/// Whether the text can stand in a Host header: `HOST` or `HOST:PORT`, an IPv6
/// address in brackets.
fn is_host_header(text: &str) -> bool {
    host_port(text, Some(PORT_OF_NONE)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, value: &str) -> (KiteFlags, Result<Option<String>, String>) {
        let mut flags = KiteFlags::default();
        let result = set_flag(&mut flags, key, value);
        (flags, result)
    }

    #[test]
    fn cuts_lines_at_the_right_colons() {
        for (text, domain, port, key, value) in [
            ("a.b/80:insecure:True", "a.b", 80, "insecure", "True"),
            ("a.b:insecure:True", "a.b", 80, "insecure", "True"),
            ("a.b/22:proxyproto:v2", "a.b", 22, "proxyproto", "v2"),
            ("a.b/80:password/bob:a:b:c", "a.b", 80, "password/bob", "a:b:c"),
            ("a.b/80:ip/192.0.2:True", "a.b", 80, "ip/192.0.2", "True"),
            ("a.b/80:ip/192.0.2.1:1", "a.b", 80, "ip/192.0.2.1", "1"),
            ("a.b/80:ip/2001:db8::/32:True", "a.b", 80, "ip/2001:db8::/32", "True"),
            ("a.b/80:ip/::1:true", "a.b", 80, "ip/::1", "true"),
            ("*.a.b/80:rewritehost:x:8080", "*.a.b", 80, "rewritehost", "x:8080"),
        ] {
            let line = match flag_line(text) {
                Ok(line) => line,
                Err(error) => panic!("{text}: {error}"),
            };
            assert_eq!(
                (line.domain, line.port, line.key, line.value),
                (domain, port, key, value),
                "{text}"
            );
        }
        for text in ["", "a.b", "a.b/80:insecure", "a.b/x:k:v", "/80:k:v", "a.b/80::v"] {
            assert!(flag_line(text).is_err(), "{text}");
        }
        let missing = flag_line("a.b/80:ip/2001:db8::1").err();
        assert!(missing.is_some_and(|error| error.contains("value is missing")));
    }

    #[test]
    fn cuts_short_flags() {
        for (text, expected) in [
            ("insecure", ("insecure", "True")),
            ("noinsecure", ("insecure", "False")),
            ("ip/2001:db8::/32", ("ip/2001:db8::/32", "True")),
            ("rewritehost=x=y", ("rewritehost", "x=y")),
            ("nonsense", ("nonsense", "True")),
        ] {
            assert_eq!(short_flag(text), expected);
        }
    }

    #[test]
    fn sets_flags() {
        assert!(set("insecure", "True").0.insecure);
        assert!(!set("insecure", "None").0.insecure);
        assert!(set("rawheaders", "yes").0.raw_headers);
        assert_eq!(set("proxyproto", "True").0.proxy_protocol, Some(ProxyProtocol::V1));
        assert_eq!(set("proxyproto", "V2").0.proxy_protocol, Some(ProxyProtocol::V2));
        assert_eq!(set("rewritehost", "True").0.rewrite_host, Some(RewriteHost::Origin));
        assert_eq!(
            set("rewritehost", "a.b:8080").0.rewrite_host,
            Some(RewriteHost::Name("a.b:8080".into()))
        );
        assert_eq!(set("ip/10.0.0.0/8", "True").0.allowed.len(), 1);
        let (flags, _) = set("user/bob", "pw");
        assert_eq!(flags.passwords, [("bob".to_owned(), Secret::new("pw"))]);
    }

    #[test]
    fn the_last_password_of_a_user_holds() {
        let mut flags = KiteFlags::default();
        for value in ["one", "two"] {
            assert_eq!(set_flag(&mut flags, "password/bob", value), Ok(None));
        }
        assert_eq!(flags.passwords, [("bob".to_owned(), Secret::new("two"))]);
    }

    #[test]
    fn a_flag_that_protects_is_never_dropped_in_silence() {
        for (key, value) in [
            ("ip/10.0", "True"),
            ("ip/10.0.0.1", "False"),
            ("password/", "x"),
            ("password/bob", ""),
            ("password/bob", "True"),
            ("insecure", "perhaps"),
            ("proxyproto", "v3"),
            ("rewritehost", "a b"),
        ] {
            assert!(set(key, value).1.is_err(), "{key} {value}");
        }
    }

    #[test]
    fn doubts_what_has_no_effect() {
        for (key, part) in [
            ("indexes", "web server"),
            ("pasword/bob", "did you mean password/?"),
            ("insecur", "did you mean insecure?"),
            ("ua/foo", "remove the line"),
        ] {
            let doubt = set(key, "s3cret").1.expect("no mistake").expect("a doubt");
            assert!(doubt.contains(part) && !doubt.contains("s3cret"), "{doubt}");
        }
        assert_eq!(set("hide", "False").1, Ok(None));
    }

    #[test]
    fn lists_are_bounded() {
        let mut flags = KiteFlags::default();
        for number in 0..MAX_ADDRESS_RANGES {
            let key = format!("ip/10.0.{}.{}", number / 256, number % 256);
            assert!(set_flag(&mut flags, &key, "True").is_ok());
        }
        assert!(set_flag(&mut flags, "ip/11.0.0.1", "True").is_err());
        for number in 0..MAX_PASSWORDS {
            assert!(set_flag(&mut flags, &format!("password/{number}"), "x").is_ok());
        }
        assert!(set_flag(&mut flags, "password/more", "x").is_err());
    }
}
