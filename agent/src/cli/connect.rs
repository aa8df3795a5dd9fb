//! `kitelet connect`: a visitor's way to a raw kite, for `ssh`, VNC viewers
//! and whatever else speaks over TCP.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use argh::FromArgs;

use super::{EXIT_CONFIG, EXIT_STOPPED, EXIT_UNAVAILABLE, Outcome, say, usage};
use crate::config::{
    DEFAULT_RELAY_PORT, Environment, HOST_PORT, RelayAddress, Security, TlsSettings,
    certificate_name, host_port, printable,
};
use crate::connect::{self, Visit};

/// Port of a kite when none is written: SSH.
pub(super) const DEFAULT_PORT: u16 = 22;
/// The relay of those who do not want to name it every time.
pub(super) const RELAY_VARIABLE: &str = "KITELET_RELAY";

/// Connect standard input and output to a port of a kite (22 if none is
/// named).
#[derive(FromArgs, Debug)]
#[argh(
    usage = "[OPTIONS] NAME[:PORT]",
    example = "ssh -o ProxyCommand='{command_name} %h:%p' me@box.example.com",
    example = "{command_name} --listen 127.0.0.1:5900 box.example.com:5900",
    note = "Without --relay, the relay is $KITELET_RELAY, else NAME itself on port 443.",
    note = "Exit code 0: the far end ended; 64: wrong command line; 69: no\n\
            connection; 78: a file of --ca-certs cannot be used."
)]
pub(super) struct ConnectArguments {
    /// the relay that carries the kite, HOST[:PORT]
    #[argh(option, arg_name = "relay")]
    pub(super) relay: Option<String>,
    /// name in the relay's certificate, NAME[/PIN]; may be repeated
    #[argh(option, arg_name = "name")]
    pub(super) relay_certname: Vec<String>,
    /// file of certificates to trust instead of the built-in ones
    #[argh(option, arg_name = "file")]
    pub(super) ca_certs: Option<String>,
    /// no TLS to the relay: everybody on the way can read along
    #[argh(switch)]
    pub(super) plain: bool,
    /// bring every connection to this address there, such as
    /// 127.0.0.1:5900, instead of standard input and output
    #[argh(option, arg_name = "address")]
    pub(super) listen: Option<String>,
    /// NAME[:PORT] of the kite
    #[argh(positional, arg_name = "kite")]
    pub(super) kite: String,
}

/// Print what ~/.ssh/config needs to visit kites with ssh, scp and rsync.
#[derive(FromArgs, Debug)]
#[argh(
    usage = "[OPTIONS] NAME[:PORT]...",
    example = "{command_name} box.example.com >> ~/.ssh/config",
    note = "The options are those of kitelet connect."
)]
pub(super) struct SshConfigArguments {
    /// the relay that carries the kites, HOST[:PORT]
    #[argh(option, arg_name = "relay")]
    pub(super) relay: Option<String>,
    /// name in the relay's certificate, NAME[/PIN]; may be repeated
    #[argh(option, arg_name = "name")]
    pub(super) relay_certname: Vec<String>,
    /// file of certificates to trust instead of the built-in ones
    #[argh(option, arg_name = "file")]
    pub(super) ca_certs: Option<String>,
    /// no TLS to the relay: everybody on the way sees that SSH is spoken
    #[argh(switch)]
    pub(super) plain: bool,
    /// NAME[:PORT] of the kites
    #[argh(positional, arg_name = "kite")]
    pub(super) kites: Vec<String>,
}

pub(super) fn command(
    arguments: &ConnectArguments,
    environment: &dyn Environment,
    errors: &mut dyn Write,
) -> Outcome {
    match visit(arguments, environment) {
        Ok(visit) => {
            if visit.security == Security::Plain {
                say(errors, "kitelet: --plain: everybody on the way to the relay can read along");
            }
            Outcome::Visit(Box::new(visit))
        }
        Err(text) => usage(errors, &text),
    }
}

/// Brings somebody to a kite.
pub(super) fn start(visit: Visit, output: &mut dyn Write, errors: &mut dyn Write) -> ExitCode {
    ExitCode::from(match connect::run(visit, output, errors) {
        Ok(()) => EXIT_STOPPED,
        Err(failure) => {
            say(errors, &format!("kitelet: {}", printable(&failure.to_string())));
            if failure.is_setup() { EXIT_CONFIG } else { EXIT_UNAVAILABLE }
        }
    })
}

fn visit(arguments: &ConnectArguments, environment: &dyn Environment) -> Result<Visit, String> {
    let (kite, port) = kite(&arguments.kite)?;
    let listen = arguments.listen.as_deref().map(listen_address).transpose()?;
    if listen.is_some() && port.is_none() {
        return Err(format!("with --listen, name the kite's port as well, such as {kite}:5900"));
    }
    let named = relay(arguments.relay.as_deref(), environment)?;
    let relay_is_guess = named.is_none();
    let own = || RelayAddress { host: kite.clone(), port: DEFAULT_RELAY_PORT };
    let relay = named.unwrap_or_else(own);
    let security =
        security(&arguments.relay_certname, arguments.ca_certs.as_deref(), arguments.plain)?;
    let port = port.unwrap_or(DEFAULT_PORT);
    Ok(Visit { kite, port, relay, relay_is_guess, security, listen })
}

/// Reads `NAME[:PORT]`; the name in lower case.
pub(super) fn kite(text: &str) -> Result<(String, Option<u16>), String> {
    // No port is 0, so it stands for none.
    match host_port(text, Some(0)) {
        Some((name, port)) if !name.contains(':') => {
            Ok((name.to_ascii_lowercase(), Some(port).filter(|port| *port != 0)))
        }
        _ => Err(format!("{text}: write the kite as NAME:PORT, such as box.example.com:22")),
    }
}

/// The relay of `--relay`, else of the environment.
pub(super) fn relay(
    option: Option<&str>,
    environment: &dyn Environment,
) -> Result<Option<RelayAddress>, String> {
    let variable = environment.variable(RELAY_VARIABLE).filter(|text| !text.is_empty());
    let (place, text) = match (option, variable) {
        (Some(text), _) => ("--relay", text.to_owned()),
        (None, Some(text)) => (RELAY_VARIABLE, text),
        (None, None) => return Ok(None),
    };
    let (host, port) = host_port(&text, Some(DEFAULT_RELAY_PORT))
        .ok_or_else(|| format!("{place}: {text} {HOST_PORT}"))?;
    Ok(Some(RelayAddress { host, port }))
}

/// How the way to the relay is protected.
pub(super) fn security(
    names: &[String],
    roots: Option<&str>,
    plain: bool,
) -> Result<Security, String> {
    if plain {
        if roots.is_some() || !names.is_empty() {
            return Err("--plain has no certificates; leave out --relay-certname and --ca-certs, \
                 or --plain"
                .into());
        }
        return Ok(Security::Plain);
    }
    let names = names
        .iter()
        .map(|name| certificate_name(name).map_err(|text| format!("--relay-certname: {text}")))
        .collect::<Result<_, _>>()?;
    Ok(Security::Tls(TlsSettings { names, roots: roots.map(Into::into) }))
}

/// Reads `ADDRESS:PORT`, `localhost:PORT`, or a port of this machine alone.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
    let with_port = text.parse::<u16>().ok().map(|port| SocketAddr::new(loopback, port));
    let by_name = || {
        let (name, port) = text.rsplit_once(':')?;
        let is_local = name.eq_ignore_ascii_case("localhost");
        is_local.then(|| port.parse().ok()).flatten().map(|port| SocketAddr::new(loopback, port))
    };
    with_port.or_else(|| text.parse().ok()).or_else(by_name).ok_or_else(|| {
        format!("--listen: {text} is no local address; write 127.0.0.1:5900 or [::1]:5900")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fake;

    fn read(words: &[&str], environment: &Fake) -> Result<Visit, String> {
        let arguments = ConnectArguments::from_args(&["kitelet", "connect"], words)
            .map_err(|exit| exit.output)?;
        visit(&arguments, environment)
    }

    #[test]
    fn the_kite_itself_is_the_relay_unless_one_is_named() {
        let mut environment = Fake::default();
        let visit = read(&["Box.Example.com"], &environment).expect("visit");
        assert_eq!((visit.kite.as_str(), visit.port), ("box.example.com", 22));
        assert_eq!(visit.relay.to_string(), "box.example.com:443");
        assert!(visit.relay_is_guess && visit.listen.is_none());
        let with_tls = Security::Tls(TlsSettings { names: Vec::new(), roots: None });
        assert_eq!(visit.security, with_tls);

        let variable = (RELAY_VARIABLE.to_owned(), "r.example.com:8443".to_owned());
        environment.variables.extend([variable]);
        let visit = read(&["box.example.com:5900"], &environment).expect("visit");
        assert_eq!(visit.relay.to_string(), "r.example.com:8443");
        assert!(!visit.relay_is_guess);
        let words = ["box.example.com:5900", "--relay", "[2001:db8::1]"];
        let visit = read(&words, &environment).expect("visit");
        assert_eq!((visit.relay.to_string().as_str(), visit.port), ("[2001:db8::1]:443", 5900));
        environment.variables.insert(RELAY_VARIABLE.into(), String::new());
        assert!(read(&["box.example.com"], &environment).expect("visit").relay_is_guess);
    }

    #[test]
    fn a_local_port_is_loopback_unless_said_otherwise() {
        for (text, address) in [
            ("5900", "127.0.0.1:5900"),
            ("localhost:5900", "127.0.0.1:5900"),
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::1]:5900", "[::1]:5900"),
            ("0.0.0.0:5900", "0.0.0.0:5900"),
        ] {
            let visit = read(&["--listen", text, "a.example.com:5900"], &Fake::default());
            assert_eq!(visit.expect(text).listen, Some(address.parse().expect("address")));
        }
    }

    #[test]
    fn mistakes_say_what_to_write() {
        let mut environment = Fake::default();
        for (words, part) in [
            (&["a b"][..], "write the kite as NAME:PORT"),
            (&["a.example.com:0"], "write the kite as NAME:PORT"),
            (&["a.example.com:22:33"], "write the kite as NAME:PORT"),
            (&["a.example.com\r\nX: y"], "write the kite as NAME:PORT"),
            (&["[::1]:22"], "write the kite as NAME:PORT"),
            (&["--listen", "5900", "a.example.com"], "name the kite's port as well"),
            (&["--listen", "box:5900", "a.example.com:1"], "write 127.0.0.1:5900"),
            (&["--relay", "a:b", "a.example.com"], "--relay: a:b is no HOST:PORT"),
            (&["--relay-certname", "a/1", "a.example.com"], "--relay-certname: the pin is no"),
            (&["--plain", "--ca-certs", "x", "a.example.com"], "--plain has no certificates"),
            (&[], "Required positional arguments not provided"),
        ] {
            let error = read(words, &environment).expect_err(part);
            assert!(error.contains(part), "{words:?}: {error}");
        }
        environment.variables.insert(RELAY_VARIABLE.into(), "a:b".into());
        let error = read(&["a.example.com"], &environment).expect_err("relay");
        assert!(error.starts_with("KITELET_RELAY: a:b is no HOST:PORT"), "{error}");
    }
}
