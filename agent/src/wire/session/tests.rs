//! What a session does with a peer that lies, floods or goes away: nothing in
//! it grows without bound, and nothing reaches the driver that it must not.

use super::send::MAX_PAYLOADS;
use super::*;
use crate::wire::{HEADER_ROOM, HeadReader, MAX_REQUEST_BYTES};

const GET: &str = "Proto: http\r\nHost: kite.test\r\nPort: 80\r\nRIP: 127.0.0.1\r\n";

fn session(role: Role, max_streams: usize) -> Session {
    Session::new(SessionSettings {
        role,
        max_streams,
        max_header_bytes: 4096,
        compress: false,
        guard_bursts: false,
    })
}

fn frame(headers: &str, body: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::push_payload(&mut frame, format!("{headers}\r\n{body}").as_bytes());
    frame
}

/// Feeds `bytes` and returns the events, but for [`Event::Progress`].
fn feed(session: &mut Session, now: Instant, mut bytes: &[u8]) -> Result<Vec<String>, WireError> {
    let mut events = Vec::new();
    while let Some(event) = session.receive(now, &mut bytes)? {
        if event != Event::Progress {
            events.push(format!("{event:?}"));
        }
    }
    assert!(bytes.is_empty(), "input is left over");
    Ok(events)
}

fn output(session: &mut Session, now: Instant) -> String {
    let mut output = Vec::new();
    while session.has_control_frames() {
        let limit = output.len() + 1;
        session.control_frames(now, &mut output, limit);
    }
    output.escape_ascii().to_string()
}

#[test]
fn the_rest_of_a_frame_is_dropped_once_its_stream_is_closed() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 10);
    let open = frame(&format!("SID: 5\r\n{GET}"), "first second");
    let (head, tail) = open.split_at(open.len() - 6);
    let events = feed(&mut agent, now, head).expect("valid");
    assert!(events.len() == 2 && events[1].starts_with("Data"), "{events:?}");
    agent.close(now, 5, Eof { read: false, write: true });
    assert_eq!(feed(&mut agent, now, tail).as_deref(), Ok(&[][..]));
}

/// Nothing that waits in a session grows beyond its bounds.
fn assert_bounded(session: &Session) {
    assert!(session.streams.len() <= session.settings.max_streams);
    assert!(session.queue.len() <= session.streams.len(), "{} queued", session.queue.len());
    assert!(session.refusals.len() <= MAX_REFUSALS);
    assert!(session.payloads.len() <= MAX_PAYLOADS);
}

#[test]
fn a_flood_for_unknown_streams_costs_bounded_memory() {
    let now = Instant::now();
    for (role, frames) in [(Role::Agent, 1_000_000), (Role::Relay, 50_000)] {
        let mut session = session(role, 10);
        for stream in 0..frames {
            // Every second one tries to open a stream, which no agent may.
            let headers = match stream % 2 {
                1 if role == Role::Relay => format!("SID: {stream}\r\n{GET}"),
                _ => format!("SID: {stream}\r\n"),
            };
            assert_eq!(feed(&mut session, now, &frame(&headers, "x")).as_deref(), Ok(&[][..]));
        }
        assert_bounded(&session);
        assert_eq!(session.stream_count(), 0);
        let answer = output(&mut session, now);
        assert_eq!(answer.matches("EOF: 1WR").count(), MAX_REFUSALS);
        assert!(!session.has_control_frames());
    }
}

#[test]
fn data_for_an_unknown_stream_is_refused_and_its_end_is_not_answered() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 10);
    for (headers, answer) in [
        ("SID: 7\r\n", "18\\r\\nSID: 7\\r\\nEOF: 1WR\\r\\n\\r\\nBye!"),
        ("SID: 7\r\nEOF: 1WR\r\n", ""),
        ("SID: 7\r\nEOF: 1R\r\n", ""),
        ("NOOP: 1\r\nSID: 7\r\nSKB: 5\r\n", ""),
    ] {
        assert_eq!(feed(&mut agent, now, &frame(headers, "x")).as_deref(), Ok(&[][..]));
        assert_eq!(output(&mut agent, now), answer, "{headers}");
    }
}

#[test]
fn opening_and_closing_without_end_costs_bounded_memory() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 10);
    for stream in 0..200_000 {
        let open = frame(&format!("SID: {stream}\r\n{GET}"), "x");
        assert_eq!(feed(&mut agent, now, &open).expect("valid").len(), 2);
        let close = frame(&format!("SID: {stream}\r\nEOF: 1WR\r\n"), "Bye!");
        assert_eq!(feed(&mut agent, now, &close).expect("valid").len(), 1);
        assert_bounded(&agent);
    }
    assert!(!agent.has_control_frames());
}

#[test]
fn streams_above_the_limit_are_refused_and_the_others_live() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 3);
    for stream in 1..=1000 {
        let events = feed(&mut agent, now, &frame(&format!("SID: {stream}\r\n{GET}"), "x"));
        let events = events.expect("valid");
        if stream <= 3 {
            assert!(events[0].starts_with("Open") && events[1].starts_with("Data"), "{events:?}");
        } else {
            assert!(events.len() == 1 && events[0].starts_with("TooManyStreams"), "{events:?}");
            agent.refuse(stream);
        }
        assert_bounded(&agent);
    }
    let answer = output(&mut agent, now);
    assert_eq!(answer.matches("EOF: 1WR").count(), MAX_REFUSALS);
    assert_eq!(answer.matches("SKB").count(), 0, "a small request needs no receipt");
    agent.close(now, 2, Eof::BOTH);
    output(&mut agent, now);
    let events = feed(&mut agent, now, &frame(&format!("SID: 2000\r\n{GET}"), ""));
    assert!(events.expect("valid")[0].starts_with("Open"));
}

#[test]
fn a_flood_of_pings_is_answered_once_per_write() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 3);
    for number in 0..100_000 {
        let ping = frame(&format!("NOOP: 1\r\nPING: {number}\r\n"), "!");
        assert_eq!(feed(&mut agent, now, &ping).as_deref(), Ok(&[][..]));
    }
    assert_eq!(output(&mut agent, now), "19\\r\\nNOOP: 1\\r\\nPONG: 99999\\r\\n\\r\\n!");
}

#[test]
fn pings_are_answered_with_and_without_noop_and_cut_to_64_bytes() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 3);
    let long = "9".repeat(100);
    for noop in ["NOOP: 1\r\n", ""] {
        for (ping, pong) in [("1795336273.3391", "1795336273.3391"), (&long, &long[..64])] {
            let ping = frame(&format!("{noop}PING: {ping}\r\n"), "!");
            assert_eq!(feed(&mut agent, now, &ping).as_deref(), Ok(&[][..]));
            let answer = output(&mut agent, now);
            assert!(answer.contains(&format!("PONG: {pong}\\r\\n")), "{answer}");
        }
    }
}

#[test]
fn lies_about_what_was_delivered_open_no_window() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 3);
    feed(&mut agent, now, &frame(&format!("SID: 5\r\n{GET}"), "x")).expect("valid");
    let room = agent.send_room(5);
    for lie in ["18446744073709551615", "9999999", "0"] {
        let receipt = frame(&format!("NOOP: 1\r\nSID: 5\r\nSKB: {lie}\r\n"), "");
        feed(&mut agent, now, &receipt).expect("valid");
        assert_eq!(agent.send_room(5), room, "{lie}");
    }
    let mut buffer = vec![0; HEADER_ROOM + room];
    agent.data_frame(now, 5, &mut buffer, HEADER_ROOM..room);
    assert!(agent.send_room(5) < room);
    for lie in ["-1", "many", "", "18446744073709551616"] {
        let mut agent = session(Role::Agent, 3);
        let receipt = frame(&format!("NOOP: 1\r\nSID: 5\r\nSKB: {lie}\r\n"), "");
        assert_eq!(feed(&mut agent, now, &receipt), Err(WireError::Number), "{lie}");
    }
}

#[test]
fn kite_frames_that_nobody_reads_are_bounded() {
    let mut agent = session(Role::Agent, 3);
    for _ in 0..100 {
        agent.send_payload(b"NOOP: 1\r\n\r\n!".to_vec());
    }
    assert_bounded(&agent);
    assert!(!agent.send_payload(Vec::new()));
}

#[test]
fn kite_lines_without_end_are_refused() {
    let now = Instant::now();
    let lines = "X-PageKite: http:kite.test:a:b:c\r\n".repeat(100_000);
    let wire = frame(&format!("NOOP: 1\r\n{lines}"), "!");
    for role in [Role::Agent, Role::Relay] {
        let mut session = session(role, 3);
        assert_eq!(feed(&mut session, now, &wire), Err(WireError::FrameHeadersTooLong));
    }
    assert_eq!(
        TunnelRequest::parse_lines(lines.as_bytes()).map(|all| all.kites.len()),
        Ok(100_000)
    );
    let mut head = HeadReader::new(MAX_REQUEST_BYTES);
    assert_eq!(head.read(&mut lines.as_bytes()), Err(WireError::HandshakeTooLong));
}

#[test]
fn half_closed_streams_expire_and_open_ones_never() {
    let start = Instant::now();
    let mut agent = session(Role::Agent, 5);
    for stream in 1..=4 {
        feed(&mut agent, start, &frame(&format!("SID: {stream}\r\n{GET}"), "x")).expect("valid");
    }
    assert_eq!(agent.deadline(), None);
    // Stream 1 stays open; 2 and 3 are closed in one direction; 4 as well, but
    // data still goes the other way.
    agent.close(start, 2, Eof { read: true, write: false });
    feed(&mut agent, start, &frame("SID: 3\r\nEOF: 1R\r\n", "Bye!")).expect("valid");
    feed(&mut agent, start, &frame("SID: 4\r\nEOF: 1R\r\n", "Bye!")).expect("valid");
    let mut now = start;
    let mut expired = Vec::new();
    let day = start + Duration::from_secs(24 * 3600);
    while let Some(deadline) = agent.deadline().filter(|&deadline| deadline < day) {
        assert!(deadline > now && deadline - now <= HALF_CLOSED_CHECK);
        now = deadline;
        if now - start < 3 * HALF_CLOSED_LIMIT {
            let mut buffer = [0; HEADER_ROOM + 1];
            agent.data_frame(now, 4, &mut buffer, HEADER_ROOM..HEADER_ROOM + 1);
        }
        while let Some(stream) = agent.expired_stream(now) {
            expired.push((stream, now - start));
        }
        output(&mut agent, now);
    }
    assert_eq!(expired.iter().map(|&(stream, _)| stream).collect::<Vec<_>>(), [2, 3, 4]);
    assert!(expired.iter().take(2).all(|&(_, after)| after == HALF_CLOSED_LIMIT));
    assert_eq!(agent.deadline(), None);
    assert_eq!(agent.stream_count(), 1);
}

#[test]
fn a_half_closed_stream_that_a_slow_socket_still_takes_from_does_not_expire() {
    let mut now = Instant::now();
    let mut agent = session(Role::Agent, 5);
    let upload = frame(&format!("SID: 5\r\n{GET}"), &"x".repeat(1000));
    feed(&mut agent, now, &upload).expect("valid");
    feed(&mut agent, now, &frame("SID: 5\r\nEOF: 1R\r\n", "Bye!")).expect("valid");
    for _ in 0..10 {
        now += HALF_CLOSED_LIMIT - HALF_CLOSED_CHECK;
        agent.delivered(5, 100);
        assert_eq!(agent.expired_stream(now), None);
    }
    now += HALF_CLOSED_LIMIT;
    assert_eq!(agent.expired_stream(now), Some(5));
}

#[test]
fn a_peer_that_restarts_compression_is_sent_plain_frames_from_then_on() {
    let now = Instant::now();
    let settings = SessionSettings {
        role: Role::Agent,
        max_streams: 3,
        max_header_bytes: 4096,
        compress: true,
        guard_bursts: false,
    };
    let mut agent = Session::new(settings);
    feed(&mut agent, now, &frame(&format!("SID: 5\r\n{GET}"), "x")).expect("valid");
    let send = |agent: &mut Session| {
        let mut buffer = [b'a'; HEADER_ROOM + 500];
        let body = HEADER_ROOM..buffer.len();
        agent.data_frame(now, 5, &mut buffer, body).to_vec()
    };
    assert!(send(&mut agent).starts_with(b"1feZ"));
    feed(&mut agent, now, &frame("NOOP: 1\r\nZRST: 1\r\n", "!")).expect("valid");
    assert!(send(&mut agent).starts_with(b"1fe\r\nSID: 5\r\n\r\naaa"));
}

/// Relays pass on a visitor's Host byte by byte.
#[test]
fn a_host_that_is_no_text_opens_a_stream_for_no_kite() {
    let mut session = Session::new(SessionSettings {
        role: Role::Agent,
        max_streams: 10,
        max_header_bytes: 1000,
        compress: false,
        guard_bursts: false,
    });
    let payload = b"SID: 5\r\nProto: http\r\nHost: \xfcx.kite.test\r\n\r\n";
    let mut frame = format!("{:x}\r\n", payload.len()).into_bytes();
    frame.extend_from_slice(payload);
    let mut input = &frame[..];
    let event = session.receive(Instant::now(), &mut input);
    let Ok(Some(Event::Open { stream: 5, open })) = event else { panic!("{event:?}") };
    assert_eq!((open.protocol, open.host), ("http", "?"));
}

/// A visitor of a wildcard kite may name any host, of any length.
#[test]
fn a_host_without_end_costs_its_stream_only() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 3);
    let open = frame(&format!("SID: 5\r\nProto: http\r\nHost: {}\r\n", "a".repeat(300_000)), "x");
    assert_eq!(feed(&mut agent, now, &open).as_deref(), Ok(&[][..]));
    assert_eq!(output(&mut agent, now), "18\\r\\nSID: 5\\r\\nEOF: 1WR\\r\\n\\r\\nBye!");
    let events = feed(&mut agent, now, &frame(&format!("SID: 7\r\n{GET}"), "x")).expect("valid");
    assert!(events[0].starts_with("Open"), "{events:?}");
}

#[test]
fn an_id_that_is_given_away_again_is_a_new_stream() {
    let now = Instant::now();
    let mut agent = session(Role::Agent, 1);
    for _ in 0..3 {
        let events = feed(&mut agent, now, &frame(&format!("SID: 5\r\n{GET}"), "x"));
        assert!(events.expect("valid")[0].starts_with("Open"));
        assert_eq!(agent.stream_count(), 1);
        assert_bounded(&agent);
    }
}
