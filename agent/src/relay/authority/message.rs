//! The question to a DNS authority and its answer, as messages of DNS (RFC
//! 1035 section 4).

use std::net::Ipv4Addr;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, OPCODE, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

use super::Ruling;
use super::answer::rule;
use super::failure::Failure;

/// Longest message that is read, in bytes. The address and the alias of the
/// longest name take 600, and a list of name servers beside them the rest. The
/// bound also keeps names short that are built of thousands of pointers.
pub const MAX_MESSAGE_BYTES: usize = 4096;
/// Records that each section of an answer may have. An authority's answer has
/// two; room for each record is taken before it is read.
pub const MAX_RECORDS: u16 = 64;
/// Aliases of aliases that are followed within an answer. One is what
/// authorities use; a resolver that was told of a detour adds a few.
pub const MAX_ALIASES: usize = 8;

/// Bytes before the questions of a message: id, flags, and four numbers of
/// records (RFC 1035 section 4.1.1).
const HEADER_BYTES: usize = 12;
/// Where in the header the number of answers stands.
const COUNTS_AT: usize = 6;

/// What a message is to somebody who waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Nothing: it belongs to another question, or is forged.
    Stray,
    /// The answer, but it has to be asked for by TCP.
    Truncated,
    /// The server cannot tell; another one may. The number is DNS's.
    Unable(u16),
    /// The answer to our question, which is not one of an authority.
    Useless(Failure),
    /// The answer.
    Ruling(Ruling),
}

/// The message that asks for the IPv4 addresses of `name`. `None` when it is
/// no name.
pub(super) fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let (kind, class) = (QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN));
    packet.questions.push(Question::new(Name::new(name).ok()?, kind, class, false));
    packet.build_bytes_vec().ok()
}

/// Reads a message that came in answer to [`question`].
pub fn read_reply(message: &[u8], id: u16, name: &str) -> Reply {
    let Ok(name) = Name::new(name) else { return Reply::Stray };
    if message.len() > MAX_MESSAGE_BYTES || !answers(message, id, &name) {
        return Reply::Stray;
    }
    // A truncated message may end within a record, so it is not read further.
    if simple_dns::header_buffer::has_flags(message, PacketFlag::TRUNCATION) != Ok(false) {
        return Reply::Truncated;
    }
    let counts = &message[COUNTS_AT..HEADER_BYTES];
    if counts.chunks(2).any(|count| u16::from_be_bytes([count[0], count[1]]) > MAX_RECORDS) {
        return Reply::Useless(Failure::TooLarge);
    }
    let Ok(packet) = Packet::parse(message) else { return Reply::Stray };
    match packet.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Reply::Useless(Failure::NoName),
        code => return Reply::Unable(code as u16),
    }
    match judge(&packet, &name) {
        Ok(ruling) => Reply::Ruling(ruling),
        Err(failure) => Reply::Useless(failure),
    }
}

/// Whether the message is an answer to this one question, whatever else it
/// holds. Letters may come back in another case.
fn answers(message: &[u8], id: u16, name: &Name<'_>) -> bool {
    // Without its records, so that what they hold does not matter here. The
    // rest of the longest name's question is 4 bytes.
    let mut head = [0; HEADER_BYTES + 255 + 4];
    let length = message.len().min(head.len());
    head[..length].copy_from_slice(&message[..length]);
    if length < HEADER_BYTES || head[4..COUNTS_AT] != [0, 1] {
        return false;
    }
    head[COUNTS_AT..HEADER_BYTES].fill(0);
    let Ok(packet) = Packet::parse(&head[..length]) else { return false };
    let [question] = packet.questions.as_slice() else { return false };
    packet.id() == id
        && packet.has_flags(PacketFlag::RESPONSE)
        && packet.opcode() == OPCODE::StandardQuery
        && question.qname == *name
        && question.qtype == QTYPE::TYPE(TYPE::A)
        && question.qclass == QCLASS::CLASS(CLASS::IN)
}

/// Follows the aliases from the name in question to its address.
fn judge(packet: &Packet<'_>, name: &Name<'_>) -> Result<Ruling, Failure> {
    let records = || packet.answers.iter().filter(|record| record.class == CLASS::IN);
    let mut owner = name;
    let mut aliases = 0;
    while let Some(target) = records().find_map(|record| match &record.rdata {
        RData::CNAME(target) if record.name == *owner => Some(&target.0),
        _ => None,
    }) {
        owner = target;
        aliases += 1;
        if aliases > MAX_ALIASES {
            return Err(Failure::AliasLoop);
        }
    }
    let mut addresses = records().filter_map(|record| match &record.rdata {
        RData::A(address) if record.name == *owner => Some(Ipv4Addr::from_bits(address.address)),
        _ => None,
    });
    let address = addresses.next().ok_or(Failure::NoAddress)?;
    if addresses.any(|other| other != address) {
        return Err(Failure::Contradiction);
    }
    let alias = (aliases > 0).then(|| owner.to_string());
    rule(address, alias.as_deref())
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
