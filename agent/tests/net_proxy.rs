//! The way to a relay through proxies that run in a thread here: what they are
//! asked, that no byte is lost, and what is said when they refuse.

mod net_support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kitelet::config::{
    Proxy, ProxyCredentials, ProxyException, ProxyExceptionHosts, ProxyKind, ProxySettings,
    RelayAddress, Security,
};
use kitelet::net::{
    Connection, Connector, OpenError, OpenFailure, Opening, ProxyFailure, Timeouts,
};
use kitelet::wire::Secret;
use net_support::*;
use rustls::version::TLS13;

/// For what is expected to run into its timeout.
const SHORT: Duration = Duration::from_millis(100);
/// A name that no name server knows (RFC 6761 section 6.4): a lookup here
/// would be an error of another kind.
const NAME: &str = "relay.invalid";
const USER: &str = "kitelet";
const PASSWORD: &str = "ZQXZQX";

use ProxyKind::{Http, Socks5};

fn settings(kind: ProxyKind, proxy: &RelayAddress, known: bool) -> ProxySettings {
    let credentials = known
        .then(|| ProxyCredentials { user: Secret::new(USER), password: Secret::new(PASSWORD) });
    let RelayAddress { host, port } = proxy.clone();
    let proxy = Some(Proxy { kind, host, port, credentials });
    ProxySettings { proxy, ..ProxySettings::default() }
}

fn open_by(
    proxy: ProxySettings,
    security: &Security,
    relay: &RelayAddress,
    opening: Opening,
    time: Duration,
) -> Result<Connection, OpenError> {
    let timeouts = Timeouts { dial: LONG, proxy: time, connect: time, tls: LONG };
    let connector = Connector::new(security).expect("settings");
    let connector = connector.with_timeouts(timeouts).through(proxy);
    smol::block_on(connector.open(relay, opening))
}

fn named() -> RelayAddress {
    RelayAddress { host: NAME.to_owned(), port: 443 }
}

/// What the attempt to reach a relay says when the proxy does `script`.
fn refusal(
    kind: ProxyKind,
    known: bool,
    time: Duration,
    script: impl Fn(TcpStream) + Send + 'static,
) -> (String, ProxyFailure) {
    let proxy = relay(script);
    let settings = settings(kind, &proxy, known);
    let error = open_by(settings, &Security::Plain, &named(), Opening::Direct, time);
    let error = error.expect_err("should fail");
    let text = error.to_string();
    println!("{text}");
    assert!(!format!("{text} {error:?}").contains(PASSWORD), "{text}");
    let place = format!("relay {NAME}:443: proxy 127.0.0.1:{}: ", proxy.port);
    assert!(text.starts_with(&place), "{text}");
    match error.failure {
        OpenFailure::Proxy(error) => (text, error.failure),
        other => panic!("not about the proxy: {other}"),
    }
}

/// Carries bytes both ways until both ends are done.
fn splice(near: TcpStream, far: TcpStream) {
    let copy = |mut from: TcpStream, mut to: TcpStream| {
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        })
    };
    let clone = |socket: &TcpStream| socket.try_clone().expect("clone");
    let there = copy(clone(&near), clone(&far));
    let _ = (copy(far, near).join(), there.join());
}

fn read_exact<const N: usize>(socket: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    socket.read_exact(&mut bytes).expect("read");
    bytes
}

/// An HTTP proxy that connects everybody to `target` and tells what it is
/// asked.
fn http_proxy(target: RelayAddress) -> (RelayAddress, mpsc::Receiver<String>) {
    let (heads, seen) = mpsc::channel();
    let proxy = relay(move |mut near| {
        let _ = heads.send(read_head(&mut near));
        let far = TcpStream::connect((&*target.host, target.port)).expect("target");
        near.write_all(b"HTTP/1.1 200 OK\r\nVia: here\r\n\r\n").expect("answer");
        splice(near, far);
    });
    (proxy, seen)
}

/// The same for SOCKS 5, with or without a password.
fn socks_proxy(target: RelayAddress, password: bool) -> (RelayAddress, mpsc::Receiver<Vec<u8>>) {
    let (requests, seen) = mpsc::channel();
    let proxy = relay(move |mut near| {
        let [_, count] = read_exact(&mut near);
        let mut methods = vec![0; count.into()];
        near.read_exact(&mut methods).expect("methods");
        if password {
            assert!(methods.contains(&2));
            near.write_all(&[5, 2]).expect("method");
            let given: [u8; 1 + 1 + 7 + 1 + 6] = read_exact(&mut near);
            assert_eq!(&given, b"\x01\x07kitelet\x06ZQXZQX");
            near.write_all(&[1, 0]).expect("welcome");
        } else {
            assert_eq!(methods, [0]);
            near.write_all(&[5, 0]).expect("method");
        }
        let head: [u8; 5] = read_exact(&mut near);
        let length = match head[3] {
            1 => 3,
            4 => 15,
            _ => usize::from(head[4]),
        };
        let mut rest = vec![0; length + 2];
        near.read_exact(&mut rest).expect("request");
        let _ = requests.send([&head[3..], &rest].concat());
        let far = TcpStream::connect((&*target.host, target.port)).expect("target");
        near.write_all(&[5, 0, 0, 1, 127, 0, 0, 1, 0, 80]).expect("answer");
        splice(near, far);
    });
    (proxy, seen)
}

#[test]
fn tls_goes_through_both_and_names_are_left_to_the_proxy() {
    let identity = self_signed(&[NAME], NOW, true);
    let file = PemFile::new(&identity.pem);
    let security = security(&[], Some(&file));
    let target = || echo(server_config(&identity, &[&TLS13]));

    let (proxy, seen) = http_proxy(target());
    let by = settings(Http, &proxy, true);
    let connection = open_by(by, &security, &named(), Opening::Direct, LONG).expect("open");
    assert!(connection.is_encrypted() && echoes(&connection));
    let head = seen.recv().expect("head");
    // Base64 of kitelet:ZQXZQX.
    let expected = "CONNECT relay.invalid:443 HTTP/1.1\r\nHost: relay.invalid:443\r\n\
                    Proxy-Authorization: Basic a2l0ZWxldDpaUVhaUVg=\r\n\r\n";
    assert_eq!(head, expected);

    for password in [false, true] {
        let (proxy, seen) = socks_proxy(target(), password);
        let by = settings(Socks5, &proxy, password);
        let connection = open_by(by, &security, &named(), Opening::Direct, LONG).expect("open");
        assert!(echoes(&connection));
        assert_eq!(seen.recv().expect("request"), b"\x03\x0drelay.invalid\x01\xbb");
    }
}

#[test]
fn the_connect_in_clear_goes_inside() {
    let identity = self_signed(&[NAME], NOW, true);
    let file = PemFile::new(&identity.pem);
    let security = security(&[(NAME, None)], Some(&file));
    let config = server_config(&identity, &[&TLS13]);
    let target = relay(move |mut socket| {
        assert!(read_head(&mut socket).starts_with("CONNECT relay.invalid:443 "));
        socket.write_all(b"HTTP/1.0 200 OK\r\n\r\n").expect("answer");
        echo_once(&config, socket);
    });
    let (proxy, _seen) = http_proxy(target.clone());
    let by = settings(Http, &proxy, false);
    let connection = open_by(by, &security, &target, Opening::ClearConnect, LONG).expect("open");
    assert!(echoes(&connection));
}

#[test]
fn addresses_of_relays_are_bracketed_where_http_wants_it() {
    let target = relay(|mut socket| socket.write_all(b"hello").expect("write"));
    let v6 = RelayAddress { host: "2001:db8::1".to_owned(), port: 8443 };
    let (proxy, seen) = http_proxy(target.clone());
    let by = settings(Http, &proxy, false);
    open_by(by, &Security::Plain, &v6, Opening::Direct, LONG).expect("open");
    let head = seen.recv().expect("head");
    assert!(head.starts_with("CONNECT [2001:db8::1]:8443 HTTP/1.1\r\n"), "{head}");

    let (proxy, seen) = socks_proxy(target, false);
    let by = settings(Socks5, &proxy, false);
    open_by(by, &Security::Plain, &v6, Opening::Direct, LONG).expect("open");
    let request = seen.recv().expect("request");
    assert_eq!(request, b"\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x20\xfb");
}

#[test]
fn a_proxy_may_have_an_ipv6_address() {
    // Some machines have no IPv6 at all.
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().expect("address").port();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().expect("accept");
        read_head(&mut socket);
        socket.write_all(b"HTTP/1.0 200 OK\r\n\r\nhi").expect("answer");
    });
    let proxy = RelayAddress { host: "::1".to_owned(), port };
    let by = settings(Http, &proxy, false);
    let connection = open_by(by, &Security::Plain, &named(), Opening::Direct, LONG).expect("open");
    assert_eq!(smol::block_on(receive(&connection, 9)).expect("read"), b"hi");
}

#[test]
fn what_is_glued_behind_the_answer_belongs_to_the_relay() {
    let answers: [(ProxyKind, &'static [u8], usize); 2] = [
        (Http, b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n", 0),
        (Socks5, b"\x05\x00\x05\x00\x00\x03\x03a.b\x00\x50", 2),
    ];
    for (kind, answer, before) in answers {
        for size in [1, 3, 1000] {
            let proxy = relay(move |mut socket| {
                let _ = socket.set_nodelay(true);
                match kind {
                    Http => drop(read_head(&mut socket)),
                    Socks5 => drop(read_exact::<3>(&mut socket)),
                }
                socket.write_all(&answer[..before]).expect("method");
                if kind == Socks5 {
                    let request = 4 + 1 + NAME.len() + 2;
                    socket.read_exact(&mut vec![0; request]).expect("request");
                }
                let glued = [&answer[before..], b"a banner of the relay"].concat();
                for part in glued.chunks(size) {
                    socket.write_all(part).expect("write");
                }
            });
            let by = settings(kind, &proxy, false);
            let connection =
                open_by(by, &Security::Plain, &named(), Opening::Direct, LONG).expect("open");
            let mut banner = Vec::new();
            loop {
                let part = smol::block_on(receive(&connection, 100)).expect("read");
                if part.is_empty() {
                    break;
                }
                banner.extend(part);
            }
            assert_eq!(banner, b"a banner of the relay", "{kind} in pieces of {size}");
        }
    }
}

#[test]
fn http_proxies_that_refuse_are_told_with_the_mend() {
    for (answer, known, words) in [
        ("407 No\r\nProxy-Authenticate: Basic realm=x\r\n", false, "USER:PASSWORD@HOST:PORT"),
        ("407 No\r\nProxy-Authenticate: Basic realm=x\r\n", true, "does not accept the user name"),
        ("407 No\r\nProxy-Authenticate: NTLM\r\n", true, "it wants NTLM"),
        ("403 Forbidden\r\n", false, "ask who runs it"),
        ("502 Bad Gateway\r\n", false, "cannot reach the relay"),
        ("503 \x1b[31mDown\r\n", false, "(HTTP 503 ?[31mDown)"),
    ] {
        let (text, failure) = refusal(Http, known, LONG, move |mut socket| {
            read_head(&mut socket);
            let _ = write!(socket, "HTTP/1.1 {answer}\r\n<html>");
        });
        assert!(text.contains(words), "{answer}: {text}");
        assert!(matches!(failure, ProxyFailure::Http(_)));
    }
}

#[test]
fn socks_proxies_that_refuse_are_told_with_the_mend() {
    for (answer, known, words) in [
        (&b"\x05\xff"[..], false, "socks5:USER:PASSWORD@HOST:PORT"),
        (b"\x05\xff", true, "something else than a user name"),
        (b"\x05\x02\x01\x01", true, "does not accept the user name"),
        (b"\x05\x00\x05\x01", false, "general failure"),
        (b"\x05\x00\x05\x02\x00\x01\0\0\0\0\0\0", false, "rules"),
        (b"\x05\x00\x05\x04", false, "spelled right"),
        (b"\x05\x00\x05\x05", false, "is the port right?"),
        (b"HTTP/1.0 400 Bad Request\r\n\r\n", false, "proxy = http:HOST:PORT"),
        (b"\x15\x03\x01", false, "not SOCKS 5"),
    ] {
        let (text, failure) = refusal(Socks5, known, LONG, move |mut socket| {
            let _ = socket.write_all(answer);
            // Until the other end has understood.
            let _ = socket.read_to_end(&mut Vec::new());
        });
        assert!(text.contains(words), "{answer:?}: {text}");
        assert!(matches!(failure, ProxyFailure::Socks(_)));
    }
}

#[test]
fn garbage_silence_and_endless_heads_have_an_end() {
    for kind in [Http, Socks5] {
        let (text, _) = refusal(kind, true, SHORT, |mut socket| {
            let _ = socket.read_to_end(&mut Vec::new());
        });
        let words = match kind {
            Http => "no answer in time",
            Socks5 => "no answer to a SOCKS greeting in time",
        };
        assert!(text.contains(words), "{text}");
        let (text, _) = refusal(kind, true, LONG, drop);
        assert!(text.contains("closed the connection without an answer"), "{text}");
    }
    let (text, _) = refusal(Socks5, false, SHORT, |mut socket| {
        let _ = socket.write_all(b"\x05\x00");
        let _ = socket.read_to_end(&mut Vec::new());
    });
    assert!(text.contains("no answer in time"), "{text}");
    // 10 MB, or less when the agent has gone before.
    let (text, _) = refusal(Http, false, LONG, |mut socket| {
        read_head(&mut socket);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n");
        let line = [b'a'; 1024 * 1024];
        let _ = (0..10).try_for_each(|_| socket.write_all(&line));
    });
    assert!(text.contains("more than 16384 bytes"), "{text}");
    // A byte now and then keeps nobody waiting for ever.
    let (text, _) = refusal(Http, false, SHORT, |mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\n");
        while socket.write_all(b"a").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    assert!(text.contains("no answer in time"), "{text}");
}

#[test]
fn a_proxy_that_is_not_there_is_named() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.local_addr().expect("address").port()
    };
    let proxy = RelayAddress { host: "127.0.0.1".to_owned(), port };
    let by = settings(Http, &proxy, true);
    let error = open_by(by, &Security::Plain, &named(), Opening::Direct, LONG);
    let text = error.expect_err("refused").to_string();
    assert!(text.contains(&format!("proxy: cannot connect to 127.0.0.1 port {port}")), "{text}");
    assert!(text.contains("nothing listens there"), "{text}");
}

#[test]
fn what_no_proxy_can_be_asked_for_is_refused() {
    let proxy = relay(drop);
    for (host, words) in [("a".repeat(256), "255 bytes"), ("fe80::1%lo".to_owned(), "interface")] {
        for kind in [Http, Socks5] {
            let relay = RelayAddress { host: host.clone(), port: 443 };
            let by = settings(kind, &proxy, false);
            let error = open_by(by, &Security::Plain, &relay, Opening::Direct, LONG);
            let text = error.expect_err("refused").to_string();
            assert!(text.contains(words), "{text}");
        }
    }
}

#[test]
fn onion_names_go_to_the_proxy_and_nowhere_else() {
    let onion = RelayAddress { host: "kitelet.onion".to_owned(), port: 443 };
    let none = ProxySettings::default();
    let error = open_by(none, &Security::Plain, &onion, Opening::Direct, LONG);
    let text = error.expect_err("no proxy").to_string();
    assert!(text.contains("write torify = "), "{text}");

    let target = relay(|mut socket| socket.write_all(b"hi").expect("write"));
    let (proxy, seen) = socks_proxy(target, false);
    let by = settings(Socks5, &proxy, false);
    open_by(by, &Security::Plain, &onion, Opening::Direct, LONG).expect("open");
    assert_eq!(seen.recv().expect("request"), b"\x03\x0dkitelet.onion\x01\xbb");
}

#[test]
fn an_excepted_relay_is_reached_without_the_proxy() {
    let target = relay(|mut socket| socket.write_all(b"hi").expect("write"));
    let nobody = relay(|_| panic!("the proxy was asked"));
    let mut by = settings(Http, &nobody, false);
    by.exceptions = vec![ProxyException { hosts: ProxyExceptionHosts::Loopback, port: None }];
    let connection = open_by(by, &Security::Plain, &target, Opening::Direct, LONG).expect("open");
    assert_eq!(smol::block_on(receive(&connection, 9)).expect("read"), b"hi");
}
