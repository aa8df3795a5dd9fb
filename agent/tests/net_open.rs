//! The way to a relay: whom it lets in, whom it keeps out, and what it says.

mod net_support;

use std::io::Write;
use std::net::Shutdown;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kitelet::config::{Pin, RelayAddress, Security};
use kitelet::net::{
    CertificateFault, Connection, Connector, OpenError, OpenFailure, OpenStep, Opening,
    TlsSetupError,
};
use net_support::*;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConnection, StreamOwned};

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
/// For what is expected to run into its timeout.
const SHORT: Duration = Duration::from_millis(100);

fn fails(result: Result<Connection, OpenError>) -> OpenError {
    let error = result.expect_err("should fail");
    println!("{error}");
    error
}

fn fault(result: Result<Connection, OpenError>) -> (CertificateFault, String) {
    let error = fails(result);
    assert!(!error.suggests_clear_connect());
    let text = error.to_string();
    match error.failure {
        OpenFailure::Certificate(problem) => (problem.fault, text),
        other => panic!("not about the certificate: {other}"),
    }
}

#[test]
fn tls_1_2_and_1_3_each_alone() {
    let authority = Authority::new();
    let identity = authority.issue(&["relay.test"], NOW);
    for version in BOTH {
        let relay = echo(server_config(&identity, &[version]));
        let security = security(&[("relay.test", None)], Some(&authority.file));
        let connection = open(&security, &relay, Opening::Direct).expect("open");
        assert!(connection.is_encrypted() && echoes(&connection));
        assert_eq!(connection.peer_addr().expect("peer").port(), relay.port);
    }
}

#[test]
fn a_second_connection_resumes_the_session() {
    let authority = Authority::new();
    let identity = authority.issue(&["relay.test"], NOW);
    let config = server_config(&identity, &BOTH);
    let (kinds, seen) = mpsc::channel();
    let relay = relay(move |socket| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("session");
        let mut stream = StreamOwned::new(session, socket);
        stream.write_all(b"hello").expect("handshake");
        kinds.send(stream.conn.handshake_kind()).expect("test");
    });
    let security = security(&[("relay.test", None)], Some(&authority.file));
    let connector = Connector::new(&security).expect("settings");
    for opening in [Opening::Direct, Opening::Direct] {
        let connection = smol::block_on(connector.open(&relay, opening)).expect("open");
        let hello = smol::block_on(receive(&connection, 100)).expect("receive");
        assert_eq!(hello, b"hello");
    }
    assert_eq!(seen.recv(), Ok(Some(rustls::HandshakeKind::Full)));
    assert_eq!(seen.recv(), Ok(Some(rustls::HandshakeKind::Resumed)));
}

#[test]
fn without_tls_bytes_go_as_they_are() {
    let relay = relay(|mut socket| {
        assert_eq!(read_head(&mut socket), "GET / HTTP/1.0\r\n\r\n");
        socket.write_all(b"plain").expect("write");
    });
    let connection = open(&Security::Plain, &relay, Opening::ClearConnect).expect("open");
    assert!(!connection.is_encrypted());
    smol::block_on(async {
        let request = b"GET / HTTP/1.0\r\n\r\n";
        send(&connection, request).await.expect("send");
        assert_eq!(receive(&connection, 100).await.expect("read"), b"plain");
        assert_eq!(receive(&connection, 100).await.expect("end"), b"");
    });
}

#[test]
fn any_of_the_names_will_do_and_the_first_is_asked_for() {
    let authority = Authority::new();
    let identity = authority.issue(&["second.test"], NOW);
    let config = server_config(&identity, &BOTH);
    let (names, seen) = mpsc::channel();
    let relay = relay(move |socket| {
        let session = ServerConnection::new(Arc::clone(&config)).expect("session");
        let mut stream = StreamOwned::new(session, socket);
        stream.write_all(b"hello").expect("handshake");
        let name = stream.conn.server_name().map(str::to_owned);
        names.send(name).expect("test");
    });
    let security = security(&[("first.test", None), ("second.test", None)], Some(&authority.file));
    open(&security, &relay, Opening::Direct).expect("open");
    assert_eq!(seen.recv(), Ok(Some("first.test".to_owned())));
}

#[test]
fn without_names_the_relay_is_called_by_its_own() {
    let authority = Authority::new();
    let by_address = echo(server_config(&authority.issue(&["127.0.0.1"], NOW), &BOTH));
    let security = security(&[], Some(&authority.file));
    let connection = open(&security, &by_address, Opening::Direct).expect("IP SAN");
    assert!(echoes(&connection));

    let by_name = RelayAddress {
        host: "localhost".to_owned(),
        ..echo(server_config(&authority.issue(&["localhost"], NOW), &BOTH))
    };
    assert!(open(&security, &by_name, Opening::Direct).is_ok());

    let (fault, text) = fault(open(
        &security,
        &echo(server_config(&authority.issue(&["a.test", "*.b.test"], NOW), &BOTH)),
        Opening::Direct,
    ));
    let names = vec!["a.test".to_owned(), "*.b.test".to_owned()];
    assert_eq!(fault, CertificateFault::WrongName(names));
    for part in ["a.test, *.b.test", "not for 127.0.0.1", "fe_certname", "nossl"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_certificate_out_of_its_time_is_told_from_a_wrong_clock() {
    let authority = Authority::new();
    let security = security(&[("relay.test", None)], Some(&authority.file));
    let expired = echo(server_config(&authority.issue(&["relay.test"], 2001..2002), &BOTH));
    let (kind, text) = fault(open(&security, &expired, Opening::Direct));
    assert!(matches!(kind, CertificateFault::Expired { .. }));
    assert!(text.contains("2002-02-03"), "{text}");

    let future = authority.issue(&["relay.test"], 3001..3002);
    let future = echo(server_config(&future, &BOTH));
    let (kind, text) = fault(open(&security, &future, Opening::Direct));
    assert!(matches!(kind, CertificateFault::NotYetValid { .. }));
    assert!(text.contains("3001-02-03") && text.contains("clock"), "{text}");
}

#[test]
fn an_unknown_issuer_leads_to_the_pin() {
    let stranger = Authority::new().issue(&["relay.test"], NOW);
    let own = self_signed(&["relay.test"], NOW, true);
    for identity in [stranger, own] {
        let relay = echo(server_config(&identity, &BOTH));
        let settings = security(&[("relay.test", None)], None);
        let (kind, text) = fault(open(&settings, &relay, Opening::Direct));
        assert_eq!(kind, CertificateFault::UnknownIssuer);
        let line = format!("fe_certname = relay.test/{}", identity.pin());
        assert!(text.contains("ca_certs") && text.contains(&line), "{text}");

        let pin = Pin::CertificateSha1(identity.sha1());
        let settings = security(&[("relay.test", Some(pin))], None);
        let connection = open(&settings, &relay, Opening::Direct).expect("pinned");
        assert!(echoes(&connection));
    }
}

#[test]
fn a_self_signed_certificate_may_stand_in_ca_certs() {
    for marked_as_issuer in [true, false] {
        let identity = self_signed(&["relay.test"], NOW, marked_as_issuer);
        let file = PemFile::new(&format!("{}{}", identity.pem, identity.key_pem));
        let relay = echo(server_config(&identity, &BOTH));
        let settings = security(&[("relay.test", None)], Some(&file));
        assert!(echoes(&open(&settings, &relay, Opening::Direct).expect("trusted")));

        let settings = security(&[("other.test", None)], Some(&file));
        let (kind, _) = fault(open(&settings, &relay, Opening::Direct));
        assert!(matches!(kind, CertificateFault::WrongName(_)));

        let old = self_signed(&["relay.test"], 2001..2002, marked_as_issuer);
        let file = PemFile::new(&old.pem);
        let relay = echo(server_config(&old, &BOTH));
        let settings = security(&[("relay.test", None)], Some(&file));
        let (kind, _) = fault(open(&settings, &relay, Opening::Direct));
        assert!(matches!(kind, CertificateFault::Expired { .. }));
    }
}

#[test]
fn pins_stand_for_chain_dates_and_names() {
    let identity = self_signed(&[], 2001..2002, true);
    let relay = echo(server_config(&identity, &BOTH));
    let good = [Pin::CertificateSha1(identity.sha1()), Pin::KeySha256(identity.key_sha256())];
    for pin in good {
        let settings =
            security(&[("a.test", Some(Pin::KeySha256([1; 32]))), ("b.test", Some(pin))], None);
        let connection = open(&settings, &relay, Opening::Direct).expect("pinned");
        assert!(echoes(&connection));
    }
    for pin in [Pin::CertificateSha1([7; 20]), Pin::KeySha256([7; 32])] {
        let settings = security(&[("relay.test", Some(pin))], None);
        let (kind, text) = fault(open(&settings, &relay, Opening::Direct));
        assert_eq!(kind, CertificateFault::WrongPin);
        assert!(text.contains(&identity.pin()), "{text}");
    }
}

#[test]
fn a_pinned_certificate_without_its_key_is_worth_nothing() {
    let identity = self_signed(&["relay.test"], NOW, false);
    let other = self_signed(&["relay.test"], NOW, false);
    let relay = echo(impostor(&identity, &other));
    for pin in [Pin::CertificateSha1(identity.sha1()), Pin::KeySha256(identity.key_sha256())] {
        let settings = security(&[("relay.test", Some(pin))], None);
        let error = fails(open(&settings, &relay, Opening::Direct));
        assert!(matches!(error.failure, OpenFailure::Tls(_)));
    }
}

#[test]
fn clear_connect_asks_for_the_first_name_and_sends_no_sni() {
    let authority = Authority::new();
    let config = server_config(&authority.issue(&["fe.test"], NOW), &BOTH);
    let (report, seen) = mpsc::channel();
    let relay = relay(move |mut socket| {
        let head = read_head(&mut socket);
        socket.write_all(b"HTTP/1.0 200 Connection Established\r\n\r\n").expect("write");
        let session = ServerConnection::new(Arc::clone(&config)).expect("session");
        let mut stream = StreamOwned::new(session, socket);
        stream.write_all(b"hello").expect("handshake");
        let name = stream.conn.server_name().map(str::to_owned);
        report.send((head, name)).expect("test");
    });
    let names = [("fe.test", None), ("other.test", None)];
    let security = security(&names, Some(&authority.file));
    let connection = open(&security, &relay, Opening::ClearConnect).expect("open");
    let hello = smol::block_on(receive(&connection, 100)).expect("receive");
    assert_eq!(hello, b"hello");
    let expected = "CONNECT fe.test:443 HTTP/1.1\r\nHost: fe.test\r\n\r\n";
    assert_eq!(seen.recv(), Ok((expected.to_owned(), None)));
}

#[test]
fn clear_connect_that_goes_wrong_says_how() {
    let security = security(&[("fe.test", None)], None);
    let answers = |answer: &'static [u8]| {
        let relay = relay(move |mut socket| {
            read_head(&mut socket);
            let _ = socket.write_all(answer);
        });
        fails(open(&security, &relay, Opening::ClearConnect))
    };
    let refused = answers(b"HTTP/1.0 503 Unavailable\r\n\r\n");
    assert!(matches!(refused.failure, OpenFailure::ConnectRefused { status: 503, .. }));
    let text = refused.to_string();
    assert!(text.contains("fe.test") && text.contains("fe_certname"), "{text}");
    assert!(text.contains("503 Unavailable"), "{text}");

    let text = answers(b"HTTP/1.0 501 Unsupported method\r\n\r\n").to_string();
    assert!(text.contains("a web server answered, not a relay (501 Unsupported"), "{text}");
    assert!(!text.contains("certificate") && !text.contains("TLS"), "{text}");

    for garbage in [&b"\x15\x03\x03\0\x02\x02\x31"[..], b"220 smtp\r\n", b"HTTP/1.1 2xx\r\n\r\n"] {
        let failure = answers(garbage).failure;
        assert!(matches!(failure, OpenFailure::ConnectGarbled), "{failure}");
    }
    for cut in [&b""[..], b"HTTP/1.0 200 Connection Est"] {
        let failure = answers(cut).failure;
        assert!(matches!(failure, OpenFailure::ConnectClosed), "{failure}");
    }
}

#[test]
fn an_endless_head_is_not_read_to_its_end() {
    let (written, count) = mpsc::channel();
    let relay = relay(move |mut socket| {
        read_head(&mut socket);
        let _ = socket.write_all(b"HTTP/1.0 200 OK\r\n");
        let line = [b'a'; 1024];
        let lines = (0..10 * 1024).take_while(|_| socket.write_all(&line).is_ok());
        written.send(lines.count()).expect("test");
    });
    let security = security(&[("fe.test", None)], None);
    let error = fails(open(&security, &relay, Opening::ClearConnect));
    assert!(matches!(error.failure, OpenFailure::ConnectGarbled));
    assert!(count.recv().expect("relay") < 10 * 1024);
}

#[test]
fn a_relay_that_turns_tls_away_suggests_clear_connect() {
    let named = security(&[("fe.test", None)], None);
    let unnamed = security(&[], None);
    // PageKite's own alert (protocol.md 12.4).
    let alert = |mut socket: std::net::TcpStream| {
        let _ = socket.write_all(b"\x15\x03\x03\0\x02\x02\x31");
        let _ = socket.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    };
    let close = |socket: std::net::TcpStream| {
        let _ = socket.shutdown(Shutdown::Write);
        let _ = std::io::copy(&mut &socket, &mut std::io::sink());
    };
    for relay in [relay(alert), relay(close), relay(drop)] {
        let error = fails(open(&named, &relay, Opening::Direct));
        assert!(error.suggests_clear_connect());
        let error = fails(open(&unnamed, &relay, Opening::Direct));
        assert!(error.suggests_clear_connect());
        let text = error.to_string();
        assert!(text.contains("nossl") && text.contains("fe_certname"), "{text}");
    }
    let error = fails(open(&named, &relay(alert), Opening::Direct));
    assert!(error.to_string().contains("access denied"));
}

#[test]
fn a_port_without_tls_is_named_as_such() {
    let security = security(&[("fe.test", None)], None);
    for (answer, is_http) in
        [(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], true), (b"SSH-2.0-OpenSSH_9.2\r\n", false)]
    {
        let relay = relay(move |mut socket| {
            let _ = socket.write_all(answer);
            let _ = std::io::copy(&mut socket, &mut std::io::sink());
        });
        let error = fails(open(&security, &relay, Opening::Direct));
        assert!(matches!(error.failure, OpenFailure::NotTls { http } if http == is_http));
        assert!(!error.suggests_clear_connect());
        let text = error.to_string();
        assert!(text.contains("nossl") && text.contains("fe_certname"), "{text}");
    }
}

#[test]
fn silence_has_an_end() {
    let silent = relay(|socket| {
        thread::spawn(move || std::io::copy(&mut &socket, &mut std::io::sink()));
    });
    let security = security(&[("fe.test", None)], None);
    for (opening, step) in
        [(Opening::Direct, OpenStep::Tls), (Opening::ClearConnect, OpenStep::Connect)]
    {
        let error = fails(open_within(&security, &silent, opening, SHORT));
        assert!(matches!(error.failure, OpenFailure::Timeout(at) if at == step));
    }
}

#[test]
fn a_relay_that_is_not_there_is_told_with_its_addresses() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = nobody.local_addr().expect("address").port();
    drop(nobody);
    let gone = RelayAddress { host: "127.0.0.1".to_owned(), port };
    let error = fails(open(&Security::Plain, &gone, Opening::Direct));
    assert!(matches!(error.failure, OpenFailure::Dial(_)));
    assert!(error.to_string().contains("connection refused"));

    let unknown = RelayAddress {
        // Too long a label to be asked for.
        host: format!("{}.invalid", "a".repeat(64)),
        port: 443,
    };
    let error = fails(open(&Security::Plain, &unknown, Opening::Direct));
    assert!(matches!(error.failure, OpenFailure::Resolve(_)));
}

#[test]
fn what_is_wrong_with_the_settings_is_named() {
    let message = |security: &Security| {
        let error: TlsSetupError = Connector::new(security).expect_err("wrong settings");
        println!("{error}");
        error.to_string()
    };
    let empty = PemFile::new("no certificate in here\n");
    let broken = PemFile::new("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
    let gone = PemFile::new("");
    std::fs::remove_file(&gone.0).expect("remove");
    for file in [&empty, &broken, &gone] {
        let path = file.0.display().to_string();
        assert!(message(&security(&[], Some(file))).contains(&path));
    }
    assert!(message(&security(&[("a b", None)], None)).contains("fe_certname = a b"));
}
