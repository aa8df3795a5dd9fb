//! Says in words what a relay made of the kites, and what a person can mend.

use litemap::LiteMap;
use log::{error, info};

use crate::config::RelayAddress;
use crate::wire::{KiteId, KiteState, Quota, Registration};

/// What was logged last, so that a relay that says the same again and again
/// does not fill the log.
#[derive(Debug, Default)]
pub(super) struct RegistrationLog {
    kites: LiteMap<KiteId, KiteState>,
    quota: String,
}

impl RegistrationLog {
    /// One line for each kite whose state is another than before. While a
    /// verdict may still come (`is_final` is false), its absence is none.
    pub(super) fn kites(
        &mut self,
        relay: &RelayAddress,
        registration: &Registration,
        is_final: bool,
    ) {
        for (id, state) in registration.kites() {
            let is_open = matches!(state, KiteState::Requested | KiteState::Challenged(_));
            if is_open && !is_final || self.kites.get(id) == Some(state) {
                continue;
            }
            log_kite(relay, id, state);
            self.kites.insert(id.clone(), state.clone());
        }
    }

    /// The tunnel is gone: what flew is news when it flies again.
    pub(super) fn tunnel_ended(&mut self) {
        self.kites.retain(|_, state| *state != KiteState::Flying);
    }

    /// One line for what is left, if the relay keeps a quota and it is another
    /// than before: relays send it with each sign of life.
    pub(super) fn quota(&mut self, relay: &RelayAddress, quota: &Quota) {
        if *quota == Quota::default() {
            return;
        }
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
        if self.quota != left {
            info!("quota left at relay {relay}: {left}");
            self.quota = left;
        }
    }
}

fn log_kite(relay: &RelayAddress, id: &KiteId, state: &KiteState) {
    match state {
        KiteState::Flying => info!("{id} flies by relay {relay}"),
        KiteState::Requested | KiteState::Challenged(_) => {
            error!("relay {relay} says nothing of {id}");
        }
        KiteState::Duplicate => error!(
            "relay {relay} refuses {id}: another tunnel flies it. If that is this machine's own \
             lost tunnel, the relay drops it once it is silent; a Kitelet relay within seconds, \
             others within two minutes; else another machine has the same kite"
        ),
        KiteState::Refused(reason) => {
            let mend = mend(id, reason);
            error!("relay {relay} refuses {id}: {mend}");
        }
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
