//! Says in words what a relay made of the kites, and what a person can mend.

use log::{error, info};

use crate::config::RelaySettings;
use crate::wire::{KiteId, KiteState, Quota, Registration};

/// One line for each kite.
pub(super) fn log_kites(relay: &RelaySettings, registration: &Registration) {
    let RelaySettings { host, port } = relay;
    for (id, state) in registration.kites() {
        match state {
            KiteState::Flying => info!("{id} flies by relay {host}:{port}"),
            KiteState::Requested | KiteState::Challenged(_) => {
                error!("relay {host}:{port} says nothing of {id}");
            }
            KiteState::Duplicate => error!(
                "relay {host}:{port} refuses {id}: another tunnel flies it. If that is this \
                 machine's own lost tunnel, the relay drops it within two minutes; else another \
                 machine has the same kite"
            ),
            KiteState::Refused(reason) => {
                let mend = mend(id, reason);
                error!("relay {host}:{port} refuses {id}: {mend}");
            }
        }
    }
}

/// One line for what is left, if the relay keeps a quota and `told`, the last
/// such line, is another: relays send it with each sign of life.
pub(super) fn log_quota(relay: &RelaySettings, quota: &Quota, told: &mut String) {
    if *quota == Quota::default() {
        return;
    }
    let RelaySettings { host, port } = relay;
    let mut left = Vec::new();
    if let Some(kilobytes) = quota.kilobytes {
        left.push(format!("{} MB", kilobytes / 1024));
    }
    if let Some(days) = quota.days {
        left.push(format!("{days} days"));
    }
    if let Some(connections) = quota.connections {
        left.push(format!("{connections} connections at once"));
    }
    if let Some((visitors, seconds)) = quota.visitors {
        left.push(format!("{visitors} visitors in {seconds} s"));
    }
    let left = left.join(", ");
    if *told != left {
        info!("quota left at relay {host}:{port}: {left}");
        *told = left;
    }
}

/// The relay's reason (`protocol.md` 3.2), and what to do about it.
fn mend(id: &KiteId, reason: &str) -> String {
    let words = match reason {
        "signature" => "the secret is wrong; compare kitesecret here with the relay's",
        "unauthorized" => {
            "it does not know this kite or the secret is wrong; compare the kite's name and \
             kitesecret with the relay's"
        }
        "proto" => "it does not carry this protocol",
        "port" => "it does not listen on this port",
        "quota" | "noquota" => "the traffic quota is used up",
        "nodays" => "the subscription has run out",
        "noconns" => "the account has too many connections",
        "challenge" => "it does not accept the answer to its challenge; is its clock jumping?",
        "" => "it gives no reason",
        other => {
            let shown: String = other.chars().take(80).collect();
            return format!("it says {shown:?} of {}", id.domain());
        }
    };
    words.to_owned()
}
