//! What the messages of a route socket say (netlink(7), rtnetlink(7)): which
//! are of interest, and what of the network they describe. Pure functions over
//! bytes; whatever is cut or has a wrong length ends the reading.

use std::hash::{Hash as _, Hasher as _};

/// Types of messages, linux/rtnetlink.h.
const NEW_LINK: u16 = 16;
const DEL_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DEL_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
const DEL_ROUTE: u16 = 25;
/// Ends of a dump, linux/netlink.h.
const ERROR: u16 = 2;
const DONE: u16 = 3;

/// What can be asked for, in the order in which a digest does.
pub(super) const QUESTIONS: [u16; 3] = [18, 22, 26];
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP_FLAGS: u16 = 0x301;

const HEADER_BYTES: usize = 16;
/// Sizes of `ifinfomsg`, `ifaddrmsg` and `rtmsg`.
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
const ROUTE_BYTES: usize = 12;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// `IFF_UP`, and with it those flags of a link that say whether it carries
/// anything: `IFF_RUNNING` and `IFF_LOWER_UP`.
const UP: u32 = 1;
const LINK_FLAGS: u32 = UP | 0x40 | 0x1_0000;
/// `IFA_F_DADFAILED` and `IFA_F_TENTATIVE`: such an address cannot be used.
const ADDRESS_FLAGS: u8 = 0x08 | 0x40;
/// `RTM_F_CLONED`: an entry of the route cache.
const CLONED: u32 = 0x200;
/// `RTNH_F_DEAD` and `RTNH_F_LINKDOWN`: the way is there and leads nowhere.
const ROUTE_FLAGS: u32 = 1 | 16;
/// `RTN_LOCAL`, `RTN_BROADCAST`, `RTN_ANYCAST` and `RTN_MULTICAST`: routes
/// that the kernel makes for each address.
const DERIVED_ROUTES: [u8; 4] = [2, 3, 4, 5];
/// `IFA_ADDRESS`, `IFA_LOCAL`.
const ADDRESS_ATTRIBUTES: &[u16] = &[1, 2];
/// `RTA_DST`, `SRC`, `IIF`, `OIF`, `GATEWAY`, `PRIORITY`, `PREFSRC`,
/// `MULTIPATH`, `TABLE`, `VIA`, `NH_ID`: what decides where a packet goes.
/// Lifetimes, which every router advertisement renews, are not among them.
const ROUTE_ATTRIBUTES: &[u16] = &[1, 2, 3, 4, 5, 6, 7, 9, 15, 18, 30];

/// One message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    kind: u16,
    body: &'a [u8],
}

/// The messages of a datagram, as far as their lengths are right.
pub(super) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
        let kind = u16_at(datagram, 4)?;
        let body = datagram.get(HEADER_BYTES..length)?;
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
        Some(Message { kind, body })
    })
}

/// The request for all links, addresses or routes.
pub(super) fn dump_request(question: u16) -> [u8; 20] {
    let mut request = [0; 20];
    // The body is one `rtgenmsg`, the family, which is "any".
    request[..4].copy_from_slice(&17_u32.to_ne_bytes());
    request[4..6].copy_from_slice(&question.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP_FLAGS.to_ne_bytes());
    request
}

impl Message<'_> {
    /// Whether no more of a dump follows.
    pub(super) fn ends_dump(&self) -> bool {
        matches!(self.kind, ERROR | DONE)
    }

    /// Whether the network may be another one after this: neighbours, bridge
    /// ports and the route cache say nothing.
    pub(super) fn is_of_interest(&self) -> bool {
        match self.kind {
            NEW_LINK | DEL_LINK => self.body.first() == Some(&0),
            NEW_ADDRESS | DEL_ADDRESS => true,
            NEW_ROUTE | DEL_ROUTE => {
                u32_at(self.body, 8).is_some_and(|flags| flags & CLONED == 0)
                    && !self.body.get(7).is_some_and(|kind| DERIVED_ROUTES.contains(kind))
            }
            _ => false,
        }
    }

    /// What it says of the network, in one number; `None` if it says nothing:
    /// a link that is down, or what [`Self::is_of_interest`] leaves out.
    pub(super) fn fact(&self) -> Option<u64> {
        if !self.is_of_interest() {
            return None;
        }
        let body = self.body;
        let mut hasher = std::hash::DefaultHasher::new();
        self.kind.hash(&mut hasher);
        match self.kind {
            NEW_LINK => {
                let flags = u32_at(body, 8)?;
                body.get(LINK_BYTES - 1)?;
                if flags & UP == 0 {
                    return None;
                }
                (u32_at(body, 4)?, flags & LINK_FLAGS).hash(&mut hasher);
            }
            NEW_ADDRESS => {
                let &[family, prefix, flags, scope] = body.first_chunk()?;
                (family, prefix, flags & ADDRESS_FLAGS, scope).hash(&mut hasher);
                u32_at(body, 4)?.hash(&mut hasher);
                hash_attributes(body.get(ADDRESS_BYTES..)?, ADDRESS_ATTRIBUTES, &mut hasher);
            }
            NEW_ROUTE => {
                let fixed: &[u8; 8] = body.first_chunk()?;
                let flags = u32_at(body, 8)?;
                (fixed, flags & ROUTE_FLAGS).hash(&mut hasher);
                hash_attributes(body.get(ROUTE_BYTES..)?, ROUTE_ATTRIBUTES, &mut hasher);
            }
            _ => return None,
        }
        Some(hasher.finish())
    }
}

fn hash_attributes(mut text: &[u8], wanted: &[u16], hasher: &mut std::hash::DefaultHasher) {
    while let (Some(length), Some(kind)) = (u16_at(text, 0), u16_at(text, 2)) {
        let length = usize::from(length);
        let Some(value) = text.get(ATTRIBUTE_HEADER_BYTES..length) else { return };
        if wanted.contains(&kind) {
            (kind, value).hash(hasher);
        }
        text = text.get(aligned(length)..).unwrap_or_default();
    }
}

/// Messages and attributes begin at multiples of four bytes.
fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER_BYTES + body.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn link(index: u32, flags: u32) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(index.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body.extend([0; 4]);
        message(NEW_LINK, &body)
    }

    fn address(flags: u8, host: u8, lifetime: u8) -> Vec<u8> {
        let mut body = vec![2, 24, flags, 0, 2, 0, 0, 0];
        body.extend(attribute(2, &[192, 0, 2, host]));
        body.extend(attribute(6, &[lifetime; 16]));
        message(NEW_ADDRESS, &body)
    }

    fn route(kind: u8, flags: u32, gateway: u8, lifetime: u8) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 0, 254, 3, 0, kind];
        body.extend(flags.to_ne_bytes());
        body.extend(attribute(5, &[192, 0, 2, gateway]));
        body.extend(attribute(12, &[lifetime; 32]));
        message(NEW_ROUTE, &body)
    }

    fn fact(bytes: &[u8]) -> Option<u64> {
        messages(bytes).next().expect("a message").fact()
    }

    #[test]
    fn what_a_tunnel_depends_on_makes_another_fact() {
        assert_ne!(fact(&link(2, 0x1_0043)), fact(&link(2, 0x1003)));
        assert_ne!(fact(&link(2, 0x1_0043)), fact(&link(3, 0x1_0043)));
        assert_ne!(fact(&address(0, 1, 9)), fact(&address(0, 2, 9)));
        assert_ne!(fact(&address(0, 1, 9)), fact(&address(0x40, 1, 9)));
        assert_ne!(fact(&route(1, 0, 1, 9)), fact(&route(1, 0, 2, 9)));
        assert_ne!(fact(&route(1, 0, 1, 9)), fact(&route(1, 16, 1, 9)));
    }

    #[test]
    fn noise_makes_none() {
        // IFF_PROMISC comes and goes with every tcpdump.
        assert_eq!(fact(&link(2, 0x1_0043)), fact(&link(2, 0x1_0143)));
        assert_eq!(fact(&address(0x80, 1, 9)), fact(&address(0x80, 1, 7)));
        assert_eq!(fact(&route(1, 0, 1, 9)), fact(&route(1, 0, 1, 7)));
        assert_eq!(fact(&link(2, 0)), None);
        assert_eq!(fact(&route(1, CLONED, 1, 9)), None);
        assert_eq!(fact(&route(2, 0, 1, 9)), None);
        // A neighbour.
        assert_eq!(fact(&message(28, &[2; 12])), None);
        let bridge_port = message(NEW_LINK, &[7; 16]);
        assert!(!messages(&bridge_port).any(|message| message.is_of_interest()));
    }

    #[test]
    fn a_link_that_goes_down_is_of_interest() {
        let down = link(2, 0x1002);
        assert!(messages(&down).all(|message| message.is_of_interest()));
    }

    #[test]
    fn what_is_cut_or_has_a_wrong_length_ends_the_reading() {
        let mut datagram = address(0, 1, 9);
        datagram.extend(route(1, 0, 1, 9));
        assert_eq!(messages(&datagram).count(), 2);
        for end in 0..datagram.len() {
            let cut = &datagram[..end];
            assert!(messages(cut).count() <= 1, "{end}");
            for message in messages(cut) {
                let _ = message.fact();
            }
        }
        for length in [0_u32, 1, 15, 4_000, u32::MAX] {
            datagram[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(messages(&datagram).count(), 0, "{length}");
        }
    }

    #[test]
    fn an_attribute_without_length_ends_the_attributes() {
        let mut body = vec![2, 24, 0, 0, 2, 0, 0, 0];
        body.extend([0; 64]);
        assert!(fact(&message(NEW_ADDRESS, &body)).is_some());
        assert_eq!(fact(&message(NEW_ADDRESS, &body[..5])), None);
        assert_eq!(fact(&message(NEW_ROUTE, &body[..9])), None);
        assert_eq!(fact(&message(NEW_LINK, &body[4..12])), None);
    }
}
