//! The lines about a proxy, as a whole configuration has them.

use super::*;
use crate::config::environment::Fake;
use crate::config::{ConfigError, Loaded, Source, load};

const KITE: &str = "frontend=relay.test:443\nservice_on=http:a.b:localhost:80:s\n";

fn load_with(
    text: &str,
    options: &[&str],
    variables: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let mut environment = Fake::with(&[("/k.rc", &format!("{KITE}{text}"))]);
    for (name, value) in variables {
        environment.variables.insert((*name).to_owned(), (*value).to_owned());
    }
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    load(&[Source::Path("/k.rc".into()), Source::Options(options)], &environment)
}

fn proxy_of(text: &str) -> Option<Proxy> {
    match load_with(text, &[], &[]) {
        Ok(loaded) => loaded.settings.proxy.proxy,
        Err(error) => panic!("{text}: {error}"),
    }
}

fn mistake(text: &str) -> String {
    load_with(text, &[], &[]).expect_err(text).to_string()
}

fn proxy(kind: ProxyKind, host: &str, port: u16, who: Option<(&str, &str)>) -> Option<Proxy> {
    let credentials = who.map(|(user, password)| ProxyCredentials {
        user: Secret::new(user),
        password: Secret::new(password),
    });
    Some(Proxy { kind, host: host.to_owned(), port, credentials })
}

use ProxyKind::{Http, Socks5};

#[test]
fn reads_what_pagekite_reads() {
    for (text, expected) in [
        ("", None),
        ("proxy = none", None),
        ("proxy = default", None),
        ("proxy = http:squid.lan:3128", proxy(Http, "squid.lan", 3128, None)),
        (
            "proxy = http:me:p:a@ss=:x@10.0.0.1:8080",
            proxy(Http, "10.0.0.1", 8080, Some(("me", "p:a@ss=:x"))),
        ),
        ("proxy = http:me@10.0.0.1:8080", proxy(Http, "10.0.0.1", 8080, Some(("me", "")))),
        ("proxy = http!me!p:w@::1!8080", proxy(Http, "::1", 8080, Some(("me", "p:w")))),
        ("proxy = http!me:pw@[::1]!8080", proxy(Http, "::1", 8080, Some(("me", "pw")))),
        ("proxy = socks5:[2001:db8::1]:1080", proxy(Socks5, "2001:db8::1", 1080, None)),
        ("proxy = socks:127.0.0.1:1080", proxy(Socks5, "127.0.0.1", 1080, None)),
        ("proxy = tor:localhost:9050", proxy(Socks5, "localhost", 9050, None)),
        (
            "proxy = http://me:p%40ss@squid.lan:3128/",
            proxy(Http, "squid.lan", 3128, Some(("me", "p@ss"))),
        ),
        ("socksify = 127.0.0.1:1080", proxy(Socks5, "127.0.0.1", 1080, None)),
        ("torify = [::1]:9050", proxy(Socks5, "::1", 9050, None)),
        ("torify = a:1\ntorify = a:1", proxy(Socks5, "a", 1, None)),
        ("proxy = http:a:1\nnoproxy", None),
        ("proxy = http:a:1\nnoproxy\nproxy = http:b:2", proxy(Http, "b", 2, None)),
        ("proxy = http:a:1\nproxy = none\ntorify = b:2", proxy(Socks5, "b", 2, None)),
    ] {
        assert_eq!(proxy_of(text), expected, "{text}");
    }
}

#[test]
fn what_cannot_be_is_told_with_the_mend() {
    for (text, mend) in [
        ("proxy = httpc:a:1", "write http"),
        ("proxy = https:a:1", "write http"),
        ("proxy = https://a:1", "write http"),
        ("proxy = httpcs:a:1", "write http"),
        ("proxy = socks4:a:1", "write socks5"),
        ("proxy = socks4a:a:1", "write socks5"),
        ("proxy = ssl:a:1", "socks5:HOST:PORT"),
        ("proxy = ssl-anon:a:1", "http:HOST:PORT"),
        ("proxy = ftp:a:1", "TYPE:[USER:PASSWORD@]HOST:PORT"),
        ("proxy = http", "TYPE:[USER:PASSWORD@]HOST:PORT"),
        ("proxy = http:a", "TYPE:[USER:PASSWORD@]HOST:PORT"),
        ("proxy = http:a:0", "TYPE:[USER:PASSWORD@]HOST:PORT"),
        ("proxy = http:::1:80", "brackets"),
        ("proxy = http:@a:1", "user name before @ is empty"),
        ("socksify = a", "HOST:PORT"),
        ("socksify = socks5:a:1", "HOST:PORT"),
        (
            "proxy = http:a:1\nproxy = socks5:b:2",
            "/k.rc:4: proxy: is the second proxy after that of /k.rc:3",
        ),
    ] {
        let told = mistake(text);
        assert!(told.contains(mend), "{text}: {told}");
    }
    let long = "x".repeat(MAX_PROXY_CREDENTIAL_BYTES + 1);
    assert!(mistake(&format!("proxy = socks5:me:{long}@a:1")).contains("255 bytes"));
    assert!(mistake("proxy = http://a%3ab:c@d:1").contains("colon"));
}

#[test]
fn no_password_is_ever_shown() {
    for text in [
        "proxy = http:me:ZQX@a:1",
        "proxy = http:me:ZQX@a",
        "proxy = ZQX@a:1",
        "proxy = ZQX:b@a:1",
        "proxy = ftp://ZQX@a:1",
        "proxy = http:ZQX:b@a:1\nproxy = http:ZQX:c@a:1",
        "socksify = ZQX@a:1",
    ] {
        let told = match load_with(text, &[], &[]) {
            Ok(loaded) => {
                format!("{loaded:?} {} {}", loaded.settings.proxy, crate::cli::describe(&loaded))
            }
            Err(error) => format!("{error:?} {error}"),
        };
        assert!(!told.contains("ZQX"), "{text}: {told}");
    }
}

#[test]
fn a_file_with_a_password_is_not_for_everybody() {
    let mut environment = Fake::with(&[("/k.rc", &format!("{KITE}proxy = http:me:pw@a:1"))]);
    environment.files.insert("/s.rc".into(), Vec::new());
    environment.readable.push("/k.rc".into());
    let loaded = load(&[Source::Path("/k.rc".into())], &environment).expect("valid");
    assert!(loaded.warnings.to_string().contains("chmod o-r /k.rc"));
    let told = load_with("", &["proxy=http:me:pw@a:1"], &[]).expect_err("refused").to_string();
    assert!(told.contains("never goes on the command line"), "{told}");
}

#[test]
fn the_command_line_takes_the_place_of_the_files() {
    let read = |text: &str, options: &[&str]| {
        load_with(text, options, &[]).expect("valid").settings.proxy.proxy
    };
    let other = proxy(Socks5, "b", 2, None);
    assert_eq!(read("proxy = http:a:1", &["proxy=socks5:b:2"]), other);
    assert_eq!(read("proxy = http:a:1", &["noproxy", "torify=b:2"]), other);
    assert_eq!(read("proxy = http:a:1", &["noproxy"]), None);
    assert!(load_with("", &["proxy=http:a:1", "torify=b:2"], &[]).is_err());
}

#[test]
fn an_onion_name_needs_a_proxy() {
    let onion = "frontend = abcdef.onion:443\n";
    let told = mistake(onion);
    assert!(told.contains("/k.rc:1: frontend: abcdef.onion is reached through Tor only"), "{told}");
    assert!(proxy_of(&format!("{onion}torify = 127.0.0.1:9050")).is_some());
    let told = mistake("frontends = 1:pool.onion:443");
    assert!(told.contains("pool.onion is reached through Tor only"), "{told}");
    // One mistake is enough.
    let told = mistake(&format!("{onion}torify = 127.0.0.1"));
    assert!(!told.contains("through Tor only"), "{told}");
}

#[test]
fn options_go_before_the_environment() {
    let variables = [("https_proxy", "http://env.lan:3128")];
    let read = |text: &str| load_with(text, &[], &variables).expect("valid").settings.proxy;
    assert_eq!(read("").proxy, proxy(Http, "env.lan", 3128, None));
    assert_eq!(read("proxy = default"), read(""));
    assert_eq!(read("torify = a:1").proxy, proxy(Socks5, "a", 1, None));
    for none in ["noproxy", "proxy = none", "torify = a:1\nnoproxy"] {
        assert_eq!(read(none), ProxySettings::default(), "{none}");
    }
    assert_eq!(read("").to_string(), "http proxy env.lan:3128 (https_proxy in the environment)");
}
