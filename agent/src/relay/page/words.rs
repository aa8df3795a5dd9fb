//! Why a visitor is not served, and what the page says about it: to people,
//! in plain words, with what they can do.

/// Why a visitor is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotServed {
    /// There is no tunnel to bring the visitor to.
    Unavailable(Absence),
    /// The request cannot be read, or says nothing of the name.
    BadRequest {
        /// What is wrong, to follow "because", as in "it names no host".
        problem: &'static str,
    },
    /// The rules keep this visitor out (`client_acl`).
    Forbidden,
    /// The name in the request is not the one that the encrypted connection
    /// was made for (RFC 9110 section 15.5.20).
    Misdirected,
    /// Too many connections of this visitor. Limits of a kite are
    /// [`Absence::OverQuota`] instead, as this says nothing of any kite.
    TooMany,
    /// The head of the request is longer than the relay holds.
    HeadTooLarge,
    /// The request uses what the relay does not know.
    NotImplemented {
        /// What is wrong, to follow "because".
        problem: &'static str,
    },
}

/// Why there is no tunnel for a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Absence {
    /// The kite may fly and does not.
    Away,
    /// No kite has this name.
    Unknown,
    /// The kite has used up what it may.
    OverQuota,
}

impl NotServed {
    /// The HTTP status code, with its reason phrase.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::Unavailable(_) => (503, "Service Unavailable"),
            Self::BadRequest { .. } => (400, "Bad Request"),
            Self::Forbidden => (403, "Forbidden"),
            Self::Misdirected => (421, "Misdirected Request"),
            Self::TooMany => (429, "Too Many Requests"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::NotImplemented { .. } => (501, "Not Implemented"),
        }
    }

    /// Seconds for the header `Retry-After` (RFC 9110 section 10.2.3); `None`
    /// where time alone changes nothing. The same for every absence, as the
    /// header would tell them apart.
    pub fn retry_after(self) -> Option<u32> {
        matches!(self, Self::Unavailable(_) | Self::TooMany).then_some(RETRY_SECONDS)
    }
}

/// Agents are back within half a minute after most interruptions.
const RETRY_SECONDS: u32 = 30;

/// What a page says. The name stands between the two parts of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) title: &'static str,
    pub(super) before_name: &'static str,
    pub(super) after_name: &'static str,
    /// The last part of the text and a full stop, where there is one.
    pub(super) because: Option<&'static str>,
    pub(super) hint: &'static str,
    /// Seconds until the page loads itself again.
    pub(super) refresh: Option<u32>,
}

impl Words {
    /// `reveal` tells the absences apart.
    pub(super) fn new(reason: NotServed, reveal: bool) -> Self {
        match reason {
            NotServed::Unavailable(absence) if reveal => Self::of_absence(absence),
            NotServed::Unavailable(_) => Self {
                title: "Not reachable right now",
                before_name: "Nothing answers at ",
                after_name: ". The device behind it may be starting, switched off or offline, or \
                             the name may be wrong.",
                because: None,
                hint: "Please try again in a minute. Is the device yours? Then the log of its \
                       agent says more.",
                refresh: Some(RETRY_SECONDS),
            },
            NotServed::BadRequest { problem } => Self {
                title: "Request not understood",
                before_name: "The request for ",
                after_name: " cannot be passed on, because ",
                because: Some(problem),
                hint: "Please reload the page or try another browser.",
                refresh: None,
            },
            NotServed::Forbidden => Self {
                title: "Not open to you",
                before_name: "Visitors from your network are not let in to ",
                after_name: ".",
                because: None,
                hint: "Please try another network, or ask whoever runs this relay.",
                refresh: None,
            },
            NotServed::Misdirected => Self {
                title: "Wrong connection",
                before_name: "Your browser asked for ",
                after_name: " on a connection that was made for another name.",
                because: None,
                hint: "Please reload the page, or open it in a new window.",
                refresh: None,
            },
            NotServed::TooMany => Self {
                title: "Too many visits",
                before_name: "More connections come from your network than this relay takes at a \
                              time, so ",
                after_name: " has to wait.",
                because: None,
                hint: "Please close other pages and try again in a minute.",
                refresh: None,
            },
            NotServed::HeadTooLarge => Self {
                title: "Request too large",
                before_name: "The headers of the request for ",
                after_name: " are more than this relay holds.",
                because: None,
                hint: "Please delete the cookies of this site and try again.",
                refresh: None,
            },
            NotServed::NotImplemented { problem } => Self {
                title: "Not possible here",
                before_name: "The request for ",
                after_name: " cannot be passed on, because ",
                because: Some(problem),
                hint: "Please try another browser or program.",
                refresh: None,
            },
        }
    }

    fn of_absence(absence: Absence) -> Self {
        match absence {
            Absence::Away => Self {
                title: "Not connected right now",
                before_name: "The device behind ",
                after_name: " is not connected. It may be starting, switched off or offline.",
                because: None,
                hint: "Please try again in a minute. Is the device yours? Then the log of its \
                       agent says more.",
                refresh: Some(RETRY_SECONDS),
            },
            Absence::Unknown => Self {
                title: "Unknown name",
                before_name: "This relay knows no device named ",
                after_name: ".",
                because: None,
                hint: "Please check the spelling. Is the name yours? Then ask whoever runs this \
                       relay to add it.",
                refresh: None,
            },
            Absence::OverQuota => Self {
                title: "Busy beyond its limits",
                before_name: "The device behind ",
                after_name: " has had as much traffic or as many visitors as it may have for now.",
                because: None,
                hint: "Please try again later. Is the device yours? Then ask whoever runs this \
                       relay for more.",
                refresh: None,
            },
        }
    }
}
