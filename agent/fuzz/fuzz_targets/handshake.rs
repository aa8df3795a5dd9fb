//! Any bytes as a handshake: no panic, the same however they are cut, and what
//! was understood survives being written and read again.

#![no_main]

use kitelet::wire::{Answer, HeadReader, Registration, Secret, Step, TunnelRequest, Verdict};
use kitelet_fuzz::{Script, cuts};
use libfuzzer_sys::fuzz_target;

const MAX_HEAD_BYTES: usize = 3000;

fuzz_target!(|input: &[u8]| {
    let mut script = Script::new(input);
    let seed = script.number() as u64;
    let bytes = script.rest();

    let (head, used) = read_head(bytes, 0);
    let in_parts = read_head(bytes, seed);
    assert_eq!((&head, used), (&in_parts.0, in_parts.1), "the cut changes the head");
    let Some(head) = head else { return };
    assert!(head.len() == used && head.len() <= MAX_HEAD_BYTES);

    if let Ok(request) = TunnelRequest::parse(&head) {
        let again = TunnelRequest::parse(&request.encode()).expect("our own head is valid");
        assert_eq!(request, again);
        for kite in &request.kites {
            let _ = kite.is_signed_with(b"s3cret", 1_700_000_000);
            let _ = kite.has_valid_challenge(b"s3cret", 1_700_000_000);
            let _ = kite.key();
        }
    }
    let block = head.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let block = &head[block..head.len() - 2];
    let _ = TunnelRequest::parse_lines(block);
    let in_frame = Answer::parse_lines(block);
    if let Ok(mut answer) = Answer::parse(&head) {
        answer.status = Some(200);
        if answer.results.iter().all(|result| has_plain_key(&result.key)) {
            assert_eq!(Answer::parse(&answer.encode()).as_ref(), Ok(&answer));
        }
        answer_an_agent(&answer, in_frame.ok().as_ref());
    }
});

fn read_head(bytes: &[u8], seed: u64) -> (Option<Vec<u8>>, usize) {
    let mut reader = HeadReader::new(MAX_HEAD_BYTES);
    let mut used = 0;
    for mut part in cuts(bytes, seed) {
        let offered = part.len();
        let head = match reader.read(&mut part) {
            Ok(head) => head.map(<[u8]>::to_vec),
            Err(_) => return (None, 0),
        };
        used += offered - part.len();
        if head.is_some() {
            return (head, used);
        }
        assert!(part.is_empty());
    }
    (None, used)
}

/// Whether a key is one that an agent may have; of others the reason of a
/// refusal cannot be told apart.
fn has_plain_key(key: &str) -> bool {
    key.trim() == key && !key.contains(';')
}

fn answer_an_agent(head: &Answer, frame: Option<&Answer>) {
    let mut random = |bytes: &mut [u8]| bytes.fill(7);
    let kites = ["http:one.test", "raw-22:two.test", "https:*.three.test"]
        .map(|id| (id.parse().expect("a kite"), Secret::new("s3cret")));
    let mut agent = Registration::new(kites, true, &mut random);
    let request = TunnelRequest::parse(&agent.request(None, &mut random)).expect("our own");
    // The same verdicts, but about the kites of this agent.
    let mut aimed = head.clone();
    for (result, kite) in aimed.results.iter_mut().zip(request.kites.iter().cycle()) {
        result.key = kite.key();
    }
    for answer in [Some(head), frame, Some(&aimed), Some(&aimed), Some(&aimed)] {
        let Some(answer) = answer else { continue };
        if agent.apply(answer) == Step::AnswerHere {
            let payload = agent.answer_payload(&mut random);
            let end = payload.windows(4).position(|four| four == b"\r\n\r\n").expect("blank line");
            let asked = TunnelRequest::parse_lines(&payload[..end + 2]).expect("our own frame");
            assert!(!asked.kites.is_empty());
        }
    }
    let challenged =
        |result: &kitelet::wire::KiteResult| matches!(result.verdict, Verdict::Challenge(_));
    if !aimed.results.iter().any(challenged) {
        TunnelRequest::parse(&agent.request(None, &mut random)).expect("our own head");
    }
}
