//! What a session does with a peer that lies, floods or goes away: nothing in
//! it grows without bound, and nothing reaches the driver that it must not.

use super::*;

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
