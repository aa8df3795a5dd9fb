//! What visitors and agents do to a running relay at the worst moment: nobody
//! may wait for ever, nothing may stay behind, and nothing may reach whom it is
//! not for. The agent's every frame is the test's own.
#![cfg(all(feature = "relay", target_os = "linux"))]
#![allow(dead_code, unreachable_pub)]

mod agent;
mod relay;

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use agent::Agent;
use relay::Relay;

/// Far beyond what any step takes here.
const LONG: Duration = Duration::from_secs(20);

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_visitor_who_leaves_in_the_middle_of_an_answer_leaves_nothing_behind() {
    let relay = Relay::start("");
    let mut agent = Agent::fly(&relay, &["http:kite.test"]);
    let before = relay.descriptors();
    for _ in 0..3 {
        let mut visitor = relay.visitor();
        visitor.get("kite.test", "");
        let stream = agent.next_stream().stream();
        agent.data(stream, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nbegin");
        visitor.read_until("begin");
        // A FIN first, and a reset in answer to what comes then.
        drop(visitor);
        assert_eq!(agent.end_of(stream), "1R");
        for _ in 0..20 {
            agent.data(stream, [b'x'; 1000]);
            thread::sleep(Duration::from_millis(2));
        }
    }
    relay.wait_for_descriptors(before);
}
