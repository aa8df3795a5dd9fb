//! Answers as authorities send them, and as attackers do.

use simple_dns::ResourceRecord;
use simple_dns::rdata::{A, CNAME, TXT};

use super::*;
use crate::wire::Quota;

const NAME: &str = "aa.tbb.cc.http.kite.test.auth.test";
const ID: u16 = 0x1234;

fn address(owner: &str, address: [u8; 4]) -> ResourceRecord<'_> {
    let data = A { address: u32::from_be_bytes(address) };
    ResourceRecord::new(Name::new(owner).expect("name"), CLASS::IN, 0, RData::A(data))
}

fn alias<'a>(owner: &'a str, target: &'a str) -> ResourceRecord<'a> {
    let data = CNAME(Name::new(target).expect("name"));
    ResourceRecord::new(Name::new(owner).expect("name"), CLASS::IN, 0, RData::CNAME(data))
}

fn packet(records: Vec<ResourceRecord<'_>>) -> Packet<'_> {
    let mut packet = Packet::new_reply(ID);
    packet.questions.push(Question::new(
        Name::new(NAME).expect("name"),
        QTYPE::TYPE(TYPE::A),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.answers = records;
    packet
}

fn bytes(packet: &Packet<'_>) -> Vec<u8> {
    packet.build_bytes_vec_compressed().expect("message")
}

fn read(records: Vec<ResourceRecord<'_>>) -> Reply {
    read_reply(&bytes(&packet(records)), ID, NAME)
}

fn granted(kilobytes: i64) -> Reply {
    let quota = Quota { kilobytes: Some(kilobytes), ..Quota::default() };
    Reply::Ruling(Ruling::Granted { quota, secret: None })
}

#[test]
fn the_question_is_one_of_dns() {
    let message = question(ID, "a.bc").expect("name");
    assert_eq!(message, b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01");
    assert_eq!(question(ID, &"a".repeat(64)), None);
}

#[test]
fn the_longest_name_is_asked_for_and_recognised() {
    let label = "a".repeat(63);
    let name = format!("{label}.{label}.{label}.{}", &label[..61]);
    assert_eq!(name.len(), 253);
    let mut message = question(ID, &name).expect("name");
    assert_eq!(message.len(), HEADER_BYTES + 255 + 4);
    message[2] |= 0x80;
    assert_eq!(read_reply(&message, ID, &name), Reply::Useless(Failure::NoAddress));
    assert_eq!(question(ID, &format!("{name}a")), None);
}

#[test]
fn an_address_is_read_with_and_without_aliases() {
    assert_eq!(read(vec![address(NAME, [0, 0, 4, 0])]), granted(1024));
    // In any order, in any case, beside other records.
    let text = TXT::new().with_string("text").expect("text");
    let text = ResourceRecord::new(Name::new(NAME).expect("name"), CLASS::IN, 0, RData::TXT(text));
    let records = vec![
        address("OK-5-E10.2a.1e.3.x", [0, 0, 200, 0]),
        text,
        address("other.test", [255, 255, 255, 1]),
        alias("Detour.test", "ok-5-e10.2a.1e.3.x"),
        alias("AA.tbb.cc.http.kite.test.auth.TEST", "detour.test"),
    ];
    let quota = Quota {
        kilobytes: Some(51200),
        days: Some(30),
        connections: Some(3),
        visitors: Some((5, 3600)),
    };
    assert_eq!(read(records), Reply::Ruling(Ruling::Granted { quota, secret: None }));
    let refusal =
        vec![alias(NAME, "nodays.0.0.0.x"), address("nodays.0.0.0.x", [255, 255, 255, 1])];
    assert_eq!(read(refusal), Reply::Ruling(Ruling::refused("nodays")));
}

#[test]
fn an_address_of_another_name_is_none() {
    let no_address = Reply::Useless(Failure::NoAddress);
    assert_eq!(read(vec![]), no_address);
    assert_eq!(read(vec![address("kite.test", [0, 0, 4, 0])]), no_address);
    assert_eq!(read(vec![alias(NAME, "away.test")]), no_address);
    let passed_over = vec![alias(NAME, "away.test"), address(NAME, [0, 0, 4, 0])];
    assert_eq!(read(passed_over), no_address);
    let mut elsewhere = address(NAME, [0, 0, 4, 0]);
    elsewhere.class = CLASS::CH;
    assert_eq!(read(vec![elsewhere]), no_address);
    let mut additional = packet(vec![]);
    additional.additional_records.push(address(NAME, [0, 0, 4, 0]));
    assert_eq!(read_reply(&bytes(&additional), ID, NAME), no_address);
}

#[test]
fn addresses_that_contradict_each_other_let_in_nobody() {
    let twice = vec![address(NAME, [0, 0, 4, 0]), address(NAME, [0, 0, 4, 0])];
    assert_eq!(read(twice), granted(1024));
    let differing = vec![address(NAME, [0, 0, 4, 0]), address(NAME, [255, 255, 255, 1])];
    assert_eq!(read(differing), Reply::Useless(Failure::Contradiction));
}

#[test]
fn rings_of_aliases_end() {
    let ring = vec![alias(NAME, "b.test"), alias("b.test", NAME), address(NAME, [0, 0, 4, 0])];
    assert_eq!(read(ring), Reply::Useless(Failure::AliasLoop));
    assert_eq!(read(vec![alias(NAME, NAME)]), Reply::Useless(Failure::AliasLoop));
    let names: Vec<String> = (0..=MAX_ALIASES).map(|number| format!("n{number}")).collect();
    let mut chain: Vec<_> = names.windows(2).map(|pair| alias(&pair[0], &pair[1])).collect();
    chain.push(alias(NAME, &names[0]));
    assert_eq!(read(chain), Reply::Useless(Failure::AliasLoop));
}

#[test]
fn an_answer_to_another_question_is_none() {
    let right = bytes(&packet(vec![address(NAME, [0, 0, 4, 0])]));
    assert_eq!(read_reply(&right, ID, NAME), granted(1024));
    assert_eq!(read_reply(&right, ID + 1, NAME), Reply::Stray);
    assert_eq!(read_reply(&right, ID, "other.test"), Reply::Stray);
    let mut query = right.clone();
    query[2] &= 0x7f;
    assert_eq!(read_reply(&query, ID, NAME), Reply::Stray);
    for count in [0, 2] {
        let mut message = right.clone();
        message[5] = count;
        assert_eq!(read_reply(&message, ID, NAME), Reply::Stray, "{count} questions");
    }
    let mut other_type = packet(vec![address(NAME, [0, 0, 4, 0])]);
    other_type.questions[0].qtype = QTYPE::TYPE(TYPE::AAAA);
    assert_eq!(read_reply(&bytes(&other_type), ID, NAME), Reply::Stray);
}

#[test]
fn errors_of_the_server_are_told_apart() {
    let with_code = |code: RCODE| {
        let mut packet = packet(vec![address(NAME, [0, 0, 4, 0])]);
        *packet.rcode_mut() = code;
        read_reply(&bytes(&packet), ID, NAME)
    };
    assert_eq!(with_code(RCODE::NameError), Reply::Useless(Failure::NoName));
    assert_eq!(with_code(RCODE::ServerFailure), Reply::Unable(2));
    assert_eq!(with_code(RCODE::Refused), Reply::Unable(5));
}

#[test]
fn a_truncated_answer_is_recognised_wherever_it_is_cut() {
    let mut packet = packet(vec![address(NAME, [0, 0, 4, 0])]);
    packet.set_flags(PacketFlag::TRUNCATION);
    let message = bytes(&packet);
    let after_question = HEADER_BYTES + NAME.len() + 2 + 4;
    for length in after_question..=message.len() {
        assert_eq!(read_reply(&message[..length], ID, NAME), Reply::Truncated, "{length}");
    }
    for length in 0..after_question {
        assert_eq!(read_reply(&message[..length], ID, NAME), Reply::Stray, "{length}");
    }
}

#[test]
fn no_cut_and_no_changed_byte_does_harm() {
    let records = vec![alias(NAME, "ok.1.1.1.x"), address("ok.1.1.1.x", [0, 0, 4, 0])];
    let message = bytes(&packet(records));
    for length in 0..message.len() {
        let reply = read_reply(&message[..length], ID, NAME);
        assert_eq!(reply, Reply::Stray, "{length}");
    }
    for position in 0..message.len() {
        for value in 0..=u8::MAX {
            let mut changed = message.clone();
            changed[position] = value;
            let _ = read_reply(&changed, ID, NAME);
        }
    }
}

#[test]
fn more_records_than_an_authority_sends_are_not_read() {
    let many = vec![address(NAME, [0, 0, 4, 0]); usize::from(MAX_RECORDS)];
    assert_eq!(read(many.clone()), granted(1024));
    let mut one_more = packet(many);
    one_more.answers.push(address(NAME, [0, 0, 4, 0]));
    let message = bytes(&one_more);
    assert!(message.len() <= MAX_MESSAGE_BYTES);
    assert_eq!(read_reply(&message, ID, NAME), Reply::Useless(Failure::TooLarge));
    let mut lying = bytes(&packet(vec![]));
    lying[6..12].fill(0xff);
    assert_eq!(read_reply(&lying, ID, NAME), Reply::Useless(Failure::TooLarge));
}
