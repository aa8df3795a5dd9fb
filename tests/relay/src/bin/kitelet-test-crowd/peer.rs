//! The relay as agents and visitors see it: where it is, how it is talked to,
//! and which kites there are.

use std::net::SocketAddr;

use kitelet::config::{CertificateName, Pin, RelayAddress, Security, TlsSettings};
use kitelet::net::{Connection, Connector, Opening};

use crate::Outcome;

/// The name on the relay's certificate.
const RELAY_NAME: &str = "relay.test";

/// What kites are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Raw,
}

impl Protocol {
    pub(crate) fn read(word: &str) -> Outcome<Self> {
        match word {
            "http" => Ok(Self::Http),
            "raw" => Ok(Self::Raw),
            _ => Err(format!("{word} is neither http nor raw").into()),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Raw => "raw",
        }
    }
}

/// Where to connect to, and how.
pub(crate) struct Target {
    address: SocketAddr,
    pub(crate) protocol: Protocol,
    pin: Option<Pin>,
}

impl Target {
    pub(crate) fn new(address: &str, protocol: Protocol, pin: Option<Pin>) -> Outcome<Self> {
        Ok(Self { address: address.parse()?, protocol, pin })
    }

    /// What an agent connects by. Each has one of its own: a shared one would
    /// resume the TLS sessions of the others.
    pub(crate) fn agents_connector(&self) -> Outcome<Connector> {
        self.connector(RELAY_NAME)
    }

    /// What a visitor of this kite connects by.
    pub(crate) fn connector(&self, name: &str) -> Outcome<Connector> {
        let security = match self.pin {
            None => Security::Plain,
            Some(pin) => Security::Tls(TlsSettings {
                names: vec![CertificateName { name: name.to_owned(), pin: Some(pin) }],
                roots: None,
            }),
        };
        Ok(Connector::new(&security)?)
    }

    pub(crate) async fn open(&self, connector: &Connector) -> Outcome<Connection> {
        let relay = RelayAddress { host: self.address.ip().to_string(), port: self.address.port() };
        Ok(connector.open(&relay, Opening::Direct).await?)
    }
}

/// SHA-1 as `openssl x509 -fingerprint` writes it, with or without colons.
pub(crate) fn read_pin(text: &str) -> Outcome<Pin> {
    let digits: String = text.chars().filter(|&letter| letter != ':').collect();
    let mut sha1 = [0; 20];
    if digits.len() != 40 || !digits.is_ascii() {
        return Err("a pin is 40 hexadecimal digits".into());
    }
    for (byte, at) in sha1.iter_mut().zip((0..40).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16)?;
    }
    Ok(Pin::CertificateSha1(sha1))
}

/// The domain of a kite.
pub(crate) fn domain(kite: usize) -> String {
    format!("kite{kite}.crowd.test")
}

/// The secret of a kite.
pub(crate) fn secret(kite: usize) -> String {
    format!("secret-of-kite-{kite}")
}

/// The line of a kite in the relay's kites file.
pub(crate) fn kites_line(kite: usize) -> String {
    format!("http,raw:{}:{}\n", domain(kite), secret(kite))
}
