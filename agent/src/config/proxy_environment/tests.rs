//! Variables as people and programs set them.

use super::*;
use crate::config::environment::Fake;
use crate::config::{ProxyCredentials, RelayAddress};
use crate::wire::Secret;

fn read_from(variables: &[(&str, &str)]) -> Result<ProxySettings, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = Fake { variables: variables.collect(), ..Fake::default() };
    let mut report = Report::new();
    let settings = read(&environment, &mut report);
    if report.mistakes.is_empty() { Ok(settings) } else { Err(report.mistakes.to_string()) }
}

fn relay(host: &str, port: u16) -> RelayAddress {
    RelayAddress { host: host.to_owned(), port }
}

#[test]
fn variables_are_looked_at_in_order() {
    let all = [
        ("https_proxy", "http://a:1"),
        ("HTTPS_PROXY", "http://b:1"),
        ("all_proxy", "http://c:1"),
        ("ALL_PROXY", "socks5h://d:1"),
        ("http_proxy", "http://e:1"),
    ];
    for (index, (name, _)) in all.iter().enumerate() {
        let found = read_from(&all[index..]).expect("valid");
        assert_eq!(found.variable, Some(*name));
    }
    assert_eq!(read_from(&[("HTTP_PROXY", "http://evil:1")]), Ok(ProxySettings::default()));
    let empty = read_from(&[("https_proxy", " "), ("ALL_PROXY", "http://d:1")]).expect("valid");
    assert_eq!(empty.variable, Some("ALL_PROXY"));
}

#[test]
fn reads_urls() {
    use ProxyKind::{Http, Socks5};
    for (text, kind, host, port, who) in [
        ("http://squid.lan:3128", Http, "squid.lan", 3128, None),
        ("HTTP://squid.lan:3128/", Http, "squid.lan", 3128, None),
        ("squid.lan:3128", Http, "squid.lan", 3128, None),
        ("http://squid.lan", Http, "squid.lan", 80, None),
        ("socks5://[::1]", Socks5, "::1", 1080, None),
        ("socks5h://127.0.0.1:9050", Socks5, "127.0.0.1", 9050, None),
        ("http://me:pw@a:1", Http, "a", 1, Some(("me", "pw"))),
        ("http://me:p%40s%3as%2Fw%25@a:1", Http, "a", 1, Some(("me", "p@s:s/w%"))),
        ("http://me:100%@a:1", Http, "a", 1, Some(("me", "100%"))),
        ("http://me:%zz@x@a:1", Http, "a", 1, Some(("me", "%zz@x"))),
        ("http://me@a:1", Http, "a", 1, Some(("me", ""))),
        ("http://:@a:1", Http, "a", 1, None),
    ] {
        let credentials = who.map(|(user, password): (&str, &str)| ProxyCredentials {
            user: Secret::new(user),
            password: Secret::new(password),
        });
        let expected = Proxy { kind, host: host.to_owned(), port, credentials };
        assert_eq!(url(text), Ok(expected), "{text}");
    }
}

#[test]
fn a_variable_that_is_not_understood_is_a_mistake() {
    for (value, mend) in [
        ("https://ZQX:ZQX@a:1", "write http"),
        ("socks4://ZQX@a:1", "write socks5"),
        ("ftp://ZQX@a:1", "http://USER:PASSWORD@HOST:PORT"),
        ("http://ZQX@", "http://USER:PASSWORD@HOST:PORT"),
        ("http://ZQX@a:99999", "http://USER:PASSWORD@HOST:PORT"),
    ] {
        let told = read_from(&[("ALL_PROXY", value)]).expect_err(value);
        assert!(told.starts_with("environment: ALL_PROXY: "), "{told}");
        assert!(told.contains(mend) && told.contains("noproxy"), "{value}: {told}");
        assert!(!told.contains("ZQX"), "{told}");
    }
}

#[test]
fn exceptions_go_round_the_proxy() {
    let list = "example.com, .lan *.test:8443,192.0.2.7,198.51.100.0/24 \
                2001:db8:1::/48,[2001:db8:2::1]:443,,<local>,a/b";
    let variables = [("ALL_PROXY", "http://a:1"), ("NO_PROXY", list)];
    let settings = read_from(&variables).expect("valid");
    for (host, port, direct) in [
        ("example.com", 443, true),
        ("EXAMPLE.com.", 443, true),
        ("relay.example.com", 443, true),
        ("notexample.com", 443, false),
        ("example.com.test", 443, false),
        ("box.lan", 1, true),
        ("x.test", 8443, true),
        ("x.test", 443, false),
        ("192.0.2.7", 443, true),
        ("192.0.2.8", 443, false),
        ("198.51.100.200", 443, true),
        ("2001:db8:1::5", 443, true),
        ("2001:db8:2::1", 443, true),
        ("2001:db8:2::1", 80, false),
        ("localhost", 443, true),
        ("relay.localhost", 443, true),
        ("127.0.0.2", 443, true),
        ("::1", 443, true),
        ("::ffff:127.0.0.1", 443, true),
        ("128.0.0.1", 443, false),
    ] {
        assert_eq!(settings.to(&relay(host, port)).is_none(), direct, "{host}:{port}");
    }
}

#[test]
fn a_star_goes_round_for_all() {
    let with = |list| read_from(&[("https_proxy", "http://a:1"), ("no_proxy", list)]);
    assert_eq!(with("a.b,*"), Ok(ProxySettings::default()));
    let some = with("*:8443").expect("valid");
    assert!(some.to(&relay("a.b", 8443)).is_none() && some.to(&relay("a.b", 443)).is_some());
    // Lower case goes first, as for the proxy itself.
    let both = [("https_proxy", "http://a:1"), ("no_proxy", "x.y"), ("NO_PROXY", "*")];
    assert!(read_from(&both).expect("valid").proxy.is_some());
}
