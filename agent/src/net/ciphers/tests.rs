//! The order of suites, and what two ends make of it.

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, ServerConnection,
    SupportedProtocolVersion, version,
};

use super::*;
use crate::net::acceptor::server_config;

const NAME: &str = "relay.example";

fn is_chacha(suite: CipherSuite) -> bool {
    price(suite) == 0
}

#[test]
fn the_cheapest_suites_come_first() {
    for of in [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2] {
        let order = |has_aes| {
            cipher_suites(has_aes)
                .iter()
                .filter(|suite| suite.version().version == of)
                .map(|suite| price(suite.suite()))
                .collect::<Vec<_>>()
        };
        assert_eq!(order(true).first(), Some(&2), "AES-256-GCM, as the library has it");
        assert!(order(false).is_sorted(), "{:?}", order(false));
        assert_eq!(order(false).first(), Some(&0));
    }
}

#[test]
fn no_suite_is_lost_or_added() {
    let names = |has_aes| {
        let mut names: Vec<u16> =
            cipher_suites(has_aes).iter().map(|suite| suite.suite().into()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(true), names(false));
    assert_eq!(names(true).len(), ring::DEFAULT_CIPHER_SUITES.len());
}

/// A certificate and its key, as PEM, and the certificate as a root.
fn identity() -> (String, String, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()]).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).expect("a root");
    (made.cert.pem(), made.signing_key.serialize_pem(), roots)
}

/// The suite that two ends agree upon; bytes go from hand to hand.
fn negotiated(
    client_has_aes: bool,
    server_has_aes: bool,
    version: &'static SupportedProtocolVersion,
) -> CipherSuite {
    let (chain, key, roots) = identity();
    let server = server_config(chain.as_bytes(), key.as_bytes(), server_has_aes).expect("server");
    let client = ClientConfig::builder_with_provider(client_provider(client_has_aes))
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(NAME).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client), name).expect("client");
    let mut server = ServerConnection::new(Arc::new(server)).expect("server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut flight = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut flight).expect("in memory");
        }
        read(&flight, |bytes| server.read_tls(bytes));
        server.process_new_packets().expect("TLS");
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).expect("in memory");
        }
        read(&flight, |bytes| client.read_tls(bytes));
        client.process_new_packets().expect("TLS");
    }
    let suite = client.negotiated_cipher_suite().expect("a suite").suite();
    assert_eq!(server.negotiated_cipher_suite().expect("a suite").suite(), suite);
    suite
}

fn read(mut flight: &[u8], mut take: impl FnMut(&mut &[u8]) -> std::io::Result<usize>) {
    while !flight.is_empty() {
        take(&mut flight).expect("in memory");
    }
}

#[test]
fn aes_is_spoken_only_where_both_ends_have_instructions_for_it() {
    for version in [&version::TLS13, &version::TLS12] {
        for (client, server) in [(true, true), (true, false), (false, true), (false, false)] {
            let suite = negotiated(client, server, version);
            assert_eq!(is_chacha(suite), !(client && server), "{client} {server} {suite:?}");
        }
    }
}
