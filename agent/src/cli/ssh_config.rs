//! `kitelet ssh-config`: the lines with which `ssh`, `scp`, `rsync` and `git`
//! find the way to kites by themselves.

use std::fmt::Write as _;
use std::io::Write;

use super::connect::{DEFAULT_PORT, SshConfigArguments, kite, relay, security};
use super::{EXIT_STOPPED, Outcome, say, usage};
use crate::config::Environment;

/// Seconds of silence before `ssh` asks for a sign of life: NAT forgets idle
/// connections, some mobile networks after a minute.
const ALIVE_SECONDS: u32 = 30;
/// Unanswered questions before `ssh` gives up.
const ALIVE_COUNT: u32 = 3;

pub(super) fn command(
    arguments: &SshConfigArguments,
    environment: &dyn Environment,
    output: &mut dyn Write,
    errors: &mut dyn Write,
) -> Outcome {
    match describe(arguments, environment) {
        Ok(text) => {
            say(output, &text);
            Outcome::Exit(EXIT_STOPPED)
        }
        Err(text) => usage(errors, &text),
    }
}

fn describe(
    arguments: &SshConfigArguments,
    environment: &dyn Environment,
) -> Result<String, String> {
    if arguments.kites.is_empty() {
        return Err("name the kites, such as kitelet ssh-config box.example.com".into());
    }
    let mut command = String::from("kitelet connect");
    if let Some(relay) = relay(arguments.relay.as_deref(), environment)? {
        let _ = write!(command, " --relay {}", word(&relay.to_string())?);
    }
    let roots = arguments.ca_certs.as_deref();
    // It is checked here, so that ssh does not stumble over it.
    security(&arguments.relay_certname, roots, arguments.plain)?;
    for name in &arguments.relay_certname {
        let _ = write!(command, " --relay-certname {}", word(name)?);
    }
    if let Some(path) = roots {
        // ssh runs in any folder.
        let path = std::path::absolute(path).map_err(|error| format!("--ca-certs: {error}"))?;
        let _ = write!(command, " --ca-certs {}", word(&path.to_string_lossy())?);
    }
    if arguments.plain {
        command.push_str(" --plain");
    }
    let mut text =
        String::from("# Kites, reached through their relay; see kitelet connect --help.\n");
    for name in &arguments.kites {
        let (name, port) = kite(name)?;
        let _ = writeln!(text, "Host {name}");
        if let Some(port) = port.filter(|port| *port != DEFAULT_PORT) {
            let _ = writeln!(text, "    Port {port}");
        }
        let _ = writeln!(text, "    ProxyCommand {command} %h:%p");
        let _ = writeln!(text, "    ServerAliveInterval {ALIVE_SECONDS}");
        let _ = writeln!(text, "    ServerAliveCountMax {ALIVE_COUNT}");
    }
    Ok(text)
}

/// A word as it goes through ssh, to which `%` is special, and a shell: that
/// of the user, or `cmd.exe`.
fn word(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) || (cfg!(windows) && text.contains('"')) {
        return Err("a file name with such characters cannot stand in ~/.ssh/config".into());
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+=:/\\,@".contains(&byte);
    let text = text.replace('%', "%%");
    let is_plain = text.bytes().all(|byte| plain(byte) && (cfg!(windows) || byte != b'\\'));
    Ok(match (is_plain, cfg!(windows)) {
        (true, _) => text,
        (false, true) => format!("\"{text}\""),
        (false, false) => format!("'{}'", text.replace('\'', "'\\''")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::connect::RELAY_VARIABLE;
    use crate::config::Fake;
    use argh::FromArgs as _;

    fn print(words: &[&str], environment: &Fake) -> Result<String, String> {
        let arguments = SshConfigArguments::from_args(&["kitelet", "ssh-config"], words)
            .map_err(|exit| exit.output)?;
        describe(&arguments, environment)
    }

    #[test]
    fn each_kite_has_its_block() {
        let words = ["Box.example.com", "nas.example.com:2222"];
        let text = print(&words, &Fake::default()).expect("text");
        let expected = "\
# Kites, reached through their relay; see kitelet connect --help.
Host box.example.com
    ProxyCommand kitelet connect %h:%p
    ServerAliveInterval 30
    ServerAliveCountMax 3
Host nas.example.com
    Port 2222
    ProxyCommand kitelet connect %h:%p
    ServerAliveInterval 30
    ServerAliveCountMax 3
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_way_to_the_relay_is_written_down() {
        let mut environment = Fake::default();
        environment.variables.insert(RELAY_VARIABLE.into(), "relay.example.com".into());
        let pin = "relay.example.com/00112233445566778899aabbccddeeff00112233";
        let words =
            ["--relay-certname", pin, "--ca-certs", "/my files/100%'s.pem", "box.example.com"];
        let text = print(&words, &environment).expect("text");
        let expected = format!(
            "ProxyCommand kitelet connect --relay relay.example.com:443 --relay-certname {pin} \
             --ca-certs '/my files/100%%'\\''s.pem' %h:%p\n"
        );
        assert!(text.contains(&expected), "{text}");
        let words = ["--relay", "[2001:db8::1]:8443", "--plain", "box.example.com"];
        let text = print(&words, &environment).expect("text");
        assert!(text.contains("connect --relay '[2001:db8::1]:8443' --plain %h:%p\n"), "{text}");
    }

    #[test]
    fn nothing_that_breaks_the_file_is_printed() {
        for words in [
            &[][..],
            &["box.example.com\nProxyCommand evil"],
            &["box;rm"],
            &["--ca-certs", "a\nb", "box.example.com"],
            &["--relay", "$(x)", "box.example.com"],
            &["--relay-certname", "$(x)", "box.example.com"],
        ] {
            assert!(print(words, &Fake::default()).is_err(), "{words:?}");
        }
    }
}
