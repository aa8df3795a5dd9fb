//! What differs between two configurations, in words.

use crate::config::{KiteSettings, Settings};

/// One phrase for each difference that a user knows of.
pub(super) fn changes(old: &Settings, new: &Settings) -> Vec<String> {
    let mut told = Vec::new();
    let find = |kites: &[KiteSettings], kite: &KiteSettings| {
        kites.iter().find(|other| other.id == kite.id).cloned()
    };
    for kite in &new.kites {
        match find(&old.kites, kite) {
            None => told.push(format!("{} is new", kite.id)),
            Some(known) if known == *kite => {}
            Some(known) if known.origin != kite.origin => {
                told.push(format!("{} goes to {} now", kite.id, kite.origin));
            }
            Some(known) if known.secret != kite.secret => {
                told.push(format!("{} has another secret, for the next tunnel", kite.id));
            }
            Some(_) => told.push(format!("{} has other settings", kite.id)),
        }
    }
    for kite in &old.kites {
        if find(&new.kites, kite).is_none() {
            told.push(format!("{} is gone; its visitors get the page \"unavailable\"", kite.id));
        }
    }
    for relay in new.relays.iter().filter(|relay| !old.relays.contains(relay)) {
        told.push(format!("relay {relay} is new"));
    }
    for relay in old.relays.iter().filter(|relay| !new.relays.contains(relay)) {
        told.push(format!("relay {relay} is gone; its tunnel ends once the others fly"));
    }
    if old.pool != new.pool {
        match &new.pool {
            Some(pool) => told.push(format!("relays come from the pool {pool} now")),
            None => told.push("no relays come from a pool any more".to_owned()),
        }
    }
    if !keeps_the_way(old, new) {
        told.push("the way to the relays has changed, for the next tunnel".to_owned());
    }
    let rest = |settings: &Settings| Settings {
        kites: Vec::new(),
        relays: Vec::new(),
        pool: None,
        security: new.security.clone(),
        proxy: new.proxy.clone(),
        websocket: new.websocket,
        ..settings.clone()
    };
    if rest(old) != rest(new) {
        told.push("other settings have changed".to_owned());
    }
    told
}

/// Whether relays are connected to as before.
pub(super) fn keeps_the_way(old: &Settings, new: &Settings) -> bool {
    old.security == new.security && old.proxy == new.proxy && old.websocket == new.websocket
}

/// Whether the difference may be the reason that no relay is reached any more,
/// or that none takes the kites.
pub(super) fn may_lose_relays(old: &Settings, new: &Settings) -> bool {
    let kites = |settings: &Settings| -> Vec<_> {
        settings.kites.iter().map(|kite| (kite.id.clone(), kite.secret.clone())).collect()
    };
    !keeps_the_way(old, new)
        || old.relays != new.relays
        || old.pool != new.pool
        || old.never != new.never
        || kites(old) != kites(new)
}
