//! The first bytes of any connection: an answer stands whatever follows and
//! however the bytes are cut, it comes within the bound, and names are such
//! that they can be looked up and logged.

#![no_main]

use std::net::IpAddr;

use kitelet::relay::arrival::{Arrival, MAX_ARRIVAL_BYTES, NameAsked, Served, look};
use kitelet_fuzz::{Script, cuts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let (flags, seed) = (script.byte(), script.number() as u64);
    let bytes = script.rest();
    let served = Served { irc: flags & 1 != 0, minecraft: flags & 2 != 0, xmpp: flags & 4 != 0 };

    let whole = look(bytes, served);
    let mut seen = 0;
    let mut answer = Arrival::More;
    for part in cuts(bytes, seed) {
        seen += part.len();
        let next = look(&bytes[..seen], served);
        assert!(answer == Arrival::More || answer == next, "an answer was taken back");
        answer = next;
    }
    assert_eq!(answer, whole);

    let mut longer = bytes.to_vec();
    longer.resize(bytes.len().max(MAX_ARRIVAL_BYTES), flags);
    let later = look(&longer, served);
    assert_ne!(later, Arrival::More, "there is no end");
    assert!(whole == Arrival::More || whole == later, "an answer was taken back");

    for answer in [whole, later] {
        match answer {
            Arrival::Tls(hello) => match hello.name {
                NameAsked::Dns(name) => {
                    assert!(is_dns_name(&name) && name.parse::<IpAddr>().is_err());
                }
                NameAsked::None | NameAsked::Address(_) | NameAsked::Malformed => {}
            },
            Arrival::Xmpp { host } => assert!(served.xmpp && is_host(&host)),
            Arrival::Minecraft { host, .. } => assert!(served.minecraft && is_host(&host)),
            Arrival::Irc { host, cut } => {
                assert!(served.irc && is_host(&host));
                assert_eq!(longer[cut.start], b'@');
                assert!(cut.len() > 1 && matches!(longer[cut.end], b' ' | b'\r' | b'\n'));
            }
            Arrival::More
            | Arrival::OldTls
            | Arrival::BrokenTls(_)
            | Arrival::Http
            | Arrival::Unknown(_) => {}
        }
    }
});

fn is_host(host: &str) -> bool {
    is_dns_name(host) || host.parse::<IpAddr>().is_ok()
}

fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
        })
}
