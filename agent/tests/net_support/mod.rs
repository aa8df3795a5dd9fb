//! Peers for the tests of the net room: certificates made on the spot and
//! relays that run in a thread and do as the test says. Loopback only.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kitelet::config::{CertificateName, Pin, RelayAddress, Security, TlsSettings};
use kitelet::net::{Connection, Connector, OpenError, Opening, Timeouts};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};

/// Far beyond what any step takes here, and an end for a test that hangs.
pub const LONG: Duration = Duration::from_secs(30);

pub fn soon() -> Instant {
    Instant::now() + LONG
}

/// A certificate and its key.
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    pub pem: String,
    pub key_pem: String,
    key: KeyPair,
}

impl Identity {
    pub fn sha1(&self) -> [u8; 20] {
        let digest =
            ::ring::digest::digest(&::ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &self.certificate);
        digest.as_ref().try_into().expect("20 bytes")
    }

    pub fn sha1_hex(&self) -> String {
        self.sha1().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn key_sha256(&self) -> [u8; 32] {
        let digest =
            ::ring::digest::digest(&::ring::digest::SHA256, &self.key.subject_public_key_info());
        digest.as_ref().try_into().expect("32 bytes")
    }

    /// The key's pin, as errors offer it.
    pub fn pin(&self) -> String {
        let hex: String = self.key_sha256().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    }

    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }
}

/// Dates of a certificate, as years.
pub type Years = std::ops::Range<i32>;
/// Long enough for every clock that these tests run on.
pub const NOW: Years = 2000..4000;

fn parameters(names: &[&str], years: Years) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut parameters = CertificateParams::new(names).expect("names");
    parameters.not_before = rcgen::date_time_ymd(years.start, 2, 3);
    parameters.not_after = rcgen::date_time_ymd(years.end, 2, 3);
    parameters
}

/// A self-signed certificate; `issuer` marks it as one that may issue others,
/// as `openssl req -x509` does.
pub fn self_signed(names: &[&str], years: Years, issuer: bool) -> Identity {
    let mut parameters = parameters(names, years);
    if issuer {
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    let key = KeyPair::generate().expect("key");
    let certificate = parameters.self_signed(&key).expect("certificate");
    Identity {
        certificate: certificate.der().clone(),
        pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        key,
    }
}

/// An issuer of certificates and the file that makes it trusted.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub file: PemFile,
}

impl Authority {
    pub fn new() -> Self {
        let mut parameters = parameters(&[], NOW);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let file = PemFile::new(&parameters.self_signed(&key).expect("certificate").pem());
        Self { issuer: Issuer::new(parameters, key), file }
    }

    pub fn issue(&self, names: &[&str], years: Years) -> Identity {
        let key = KeyPair::generate().expect("key");
        let certificate =
            parameters(names, years).signed_by(&key, &self.issuer).expect("certificate");
        Identity {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key,
        }
    }
}

/// A file that goes when the test ends.
pub struct PemFile(pub PathBuf);

impl PemFile {
    pub fn new(text: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("net-{}-{number}.pem", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).expect("temporary file");
        Self(path)
    }
}

impl Drop for PemFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Settings that accept `names`, by the roots in `file`.
pub fn security(names: &[(&str, Option<Pin>)], file: Option<&PemFile>) -> Security {
    Security::Tls(TlsSettings {
        names: names
            .iter()
            .map(|(name, pin)| CertificateName { name: (*name).to_owned(), pin: *pin })
            .collect(),
        roots: file.map(|file| file.0.clone()),
    })
}

/// Opens a connection with timeouts that only a hanging test notices.
pub fn open(
    security: &Security,
    relay: &RelayAddress,
    opening: Opening,
) -> Result<Connection, OpenError> {
    open_within(security, relay, opening, LONG)
}

pub fn open_within(
    security: &Security,
    relay: &RelayAddress,
    opening: Opening,
    time: Duration,
) -> Result<Connection, OpenError> {
    let connector = Connector::new(security).expect("settings").with_timeouts(Timeouts {
        dial: time,
        proxy: time,
        connect: time,
        tls: time,
    });
    smol::block_on(connector.open(relay, opening))
}

/// A peer on 127.0.0.1 that does `script` to every connection.
pub fn relay(script: impl Fn(TcpStream) + Send + 'static) -> RelayAddress {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    thread::spawn(move || listener.incoming().flatten().for_each(script));
    RelayAddress { host: "127.0.0.1".to_owned(), port }
}

/// A relay that echoes over TLS.
pub fn echo(config: Arc<ServerConfig>) -> RelayAddress {
    relay(move |socket| echo_once(&config, socket))
}

pub fn echo_once(config: &Arc<ServerConfig>, socket: TcpStream) {
    let session = ServerConnection::new(Arc::clone(config)).expect("session");
    let mut stream = StreamOwned::new(session, socket);
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..read]).is_err() {
            return;
        }
    }
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

pub fn server_config(
    identity: &Identity,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ServerConfig> {
    let chain = vec![identity.certificate.clone()];
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, identity.private_key())
        .expect("certificate and key");
    Arc::new(config)
}

/// A server that shows `shown` and signs with the key of `signer`.
pub fn impostor(shown: &Identity, signer: &Identity) -> Arc<ServerConfig> {
    #[derive(Debug)]
    struct Always(Arc<CertifiedKey>);
    impl ResolvesServerCert for Always {
        fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }
    let key = ring::sign::any_supported_type(&signer.private_key()).expect("key");
    let certified = CertifiedKey::new(vec![shown.certificate.clone()], key);
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(certified))));
    Arc::new(config)
}

/// Reads the head of a request, to the byte.
pub fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && socket.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Writes all of `bytes`.
pub async fn send(connection: &Connection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match connection.try_write(bytes) {
            Ok(taken) => bytes = &bytes[taken..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.writable().await?;
            }
            Err(error) => return Err(error),
        }
    }
    flush(connection).await
}

/// Sends what TLS holds back.
pub async fn flush(connection: &Connection) -> io::Result<()> {
    loop {
        match connection.try_flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.writable().await?;
            }
            result => return result,
        }
    }
}

/// Reads something; empty at the end.
pub async fn receive(connection: &Connection, limit: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; limit];
    loop {
        match connection.try_read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                connection.readable().await?;
            }
            Ok(read) => {
                buffer.truncate(read);
                return Ok(buffer);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the other end echoes over this connection.
pub fn echoes(connection: &Connection) -> bool {
    smol::block_on(async {
        send(connection, b"ping").await.expect("send");
        let mut answer = Vec::new();
        while answer.len() < 4 {
            answer.extend(receive(connection, 100).await.expect("receive"));
        }
        answer == b"ping"
    })
}
