//! Which flag lines are for which kites, and where a flag cannot do what it
//! promises.

use super::flags::{PORT_OF_NONE, needs_http, set_flag};
use super::problem::{Place, Report};
use super::settings::KiteSettings;
use crate::wire::KiteId;

/// A flag and where it was typed. Not `Debug`: the value may be a password.
pub(super) struct Flag {
    pub(super) place: Place,
    pub(super) option: &'static str,
    pub(super) domain: String,
    pub(super) port: u16,
    pub(super) key: String,
    pub(super) value: String,
}

impl Flag {
    /// Whether the flag is for this kite; a kite without a port of its own has
    /// port 80 here (`protocol.md` 13.3).
    pub(super) fn is_for(&self, id: &KiteId) -> bool {
        self.domain == id.domain() && self.port == id.port().unwrap_or(PORT_OF_NONE)
    }
}

/// Applies one flag to the kites it is for, and says where it cannot work.
pub(super) fn apply(flag: &Flag, insecure: bool, kites: &mut [KiteSettings], report: &mut Report) {
    let mut unread = Vec::new();
    let mut obeyed = 0usize;
    for kite in kites.iter_mut().filter(|kite| flag.is_for(&kite.id)) {
        if needs_http(&flag.key) && !kite.id.is_http() {
            unread.push(kite.id.to_string());
            continue;
        }
        obeyed += 1;
        if let Err(text) = set_flag(&mut kite.flags, &flag.key, &flag.value) {
            report.mistake(&flag.place, flag.option, text);
        }
        kite.flags.insecure |= insecure;
    }
    if unread.is_empty() {
        return;
    }
    let unread = unread.join(", ");
    let key = flag.key.split('/').next().unwrap_or_default();
    if key == "rewritehost" || key == "rawheaders" {
        // Nothing is less safe than it looks; with http beside it, as meant.
        if obeyed == 0 {
            let text = format!("{key} has no effect on {unread}, which is not http");
            report.warning(&flag.place, flag.option, text);
        }
    } else if obeyed == 0 {
        let text = format!(
            "a password cannot protect {unread}, which is not http; remove the line and let the \
             service ask for it"
        );
        report.mistake(&flag.place, flag.option, text);
    } else {
        let text = format!(
            "the password does not protect {unread}, which is not http; let that service ask for \
             it, or write service_off"
        );
        report.warning(&flag.place, flag.option, text);
    }
}
