//! Lets agents in: challenges, signatures, and the answer.

use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use kitelet::net::Connection;
use kitelet::wire::{Answer, KiteRequest, KiteResult, Salt, TunnelRequest, Verdict};

use crate::Relay;
use crate::tunnel::Tunnel;

/// The secret that challenges are made with. Tests need no better one.
const RELAY_SECRET: &[u8] = b"test relay";

/// Answers the head of a handshake and runs the tunnel, if one comes of it.
pub(crate) async fn take_tunnel(
    relay: &Rc<Relay>,
    connection: Connection,
    head: &[u8],
    rest: &[u8],
) {
    let Ok(request) = TunnelRequest::parse(head) else {
        let _ = connection.write_all(b"HTTP/1.0 503 Unavailable\r\n\r\n").await;
        return;
    };
    let answer = Answer {
        add_kites: !relay.reconnect,
        zlib_chunks: true,
        protocols: ["http", "https", "websocket", "raw", "minecraft"].map(str::to_owned).to_vec(),
        ..judge(relay, &request.kites)
    };
    if connection.write_all(&answer.encode()).await.is_err() {
        return;
    }
    let keeps = request.add_kites && !relay.reconnect;
    if !keeps && flying(&answer).next().is_none() {
        return;
    }
    let tunnel = Tunnel::new(connection, request.zlib_chunks);
    register(relay, &tunnel, &request.kites, &answer);
    let registered = Rc::clone(relay);
    let ours = Rc::clone(&tunnel);
    tunnel
        .run(rest, &mut |request| {
            let answer = judge(&registered, &request.kites);
            register(&registered, &ours, &request.kites, &answer);
            answer.encode_payload()
        })
        .await;
    relay.kites.borrow_mut().retain(|_, holder| !Rc::ptr_eq(holder, &tunnel));
}

/// Says of each kite whether it may fly. One that flies already is taken over:
/// there are no thieves on loopback.
fn judge(relay: &Relay, kites: &[KiteRequest]) -> Answer {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let results = kites.iter().map(|kite| {
        let verdict = if kite.challenge.is_empty() {
            let salt = Salt::from_random([1, 2, 3, 4]);
            Verdict::Challenge(kite.make_challenge(RELAY_SECRET, salt, now))
        } else if !kite.has_valid_challenge(RELAY_SECRET, now) {
            Verdict::Refused("unauthorized".to_owned())
        } else if !kite.is_signed_with(&relay.secret, now) {
            Verdict::Refused("signature".to_owned())
        } else {
            Verdict::Flying
        };
        KiteResult { key: kite.key(), verdict }
    });
    Answer {
        results: results.collect(),
        session_id: Some(format!("{now:x}:test")),
        motd: Some(String::new()),
        ..Answer::default()
    }
}

fn register(relay: &Relay, tunnel: &Rc<Tunnel>, kites: &[KiteRequest], answer: &Answer) {
    for key in flying(answer) {
        if let Some(kite) = kites.iter().find(|kite| kite.key() == key) {
            relay.kites.borrow_mut().insert(kite.id.to_string(), Rc::clone(tunnel));
        }
    }
}

fn flying(answer: &Answer) -> impl Iterator<Item = &str> {
    let flying = answer.results.iter().filter(|result| result.verdict == Verdict::Flying);
    flying.map(|result| result.key.as_str())
}
