//! A relay of which nothing was said: every option at its default, and nobody
//! flies anything.

use super::super::relay_settings::{RawPorts, RelaySettings};
use super::authority::AuthorityLines;
use super::limits::LimitLines;
use super::ports::{DEFAULT_PORTS, DEFAULT_PROTOCOLS};

impl Default for RelaySettings {
    fn default() -> Self {
        let LimitLines { limits, keepalive_seconds, buffer_kilobytes, compress, stop_seconds } =
            LimitLines::default();
        Self {
            hosts: Vec::new(),
            ports: DEFAULT_PORTS.to_vec(),
            port_aliases: Vec::new(),
            protocols: DEFAULT_PROTOCOLS.map(str::to_owned).to_vec(),
            raw_ports: RawPorts { any: true, ..RawPorts::default() },
            kites_file: None,
            grants: Vec::new(),
            authorities: Vec::new(),
            max_questions: AuthorityLines::default().max_questions,
            name_server: None,
            certificates: Vec::new(),
            default_certificate: None,
            self_sign: false,
            acme_webroot: None,
            visitor_rules: Vec::new(),
            tunnel_rules: Vec::new(),
            limits,
            error_page: None,
            error_urls: Vec::new(),
            reveal_kites: false,
            motd: None,
            access_log: None,
            run_as: None,
            chroot: None,
            keepalive_seconds,
            buffer_kilobytes,
            compress,
            stop_seconds,
        }
    }
}
