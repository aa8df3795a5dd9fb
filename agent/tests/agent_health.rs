//! Services that come and go: who comes while one is away is told at once.

mod agent_support;

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_support::{Agent, FakeRelay, Open, Service, open_frame};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: kite.test\r\n\r\n";

#[test]
fn a_service_that_fails_its_health_check_is_closed_and_opened_again() {
    let is_well = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&is_well);
    let service = Service::new(move |mut visitor| {
        let mut buffer = [0; 1024];
        let length = visitor.read(&mut buffer).unwrap_or(0);
        let is_check = buffer[..length].starts_with(b"GET /health ");
        let status = if is_check && !known.load(Ordering::Relaxed) { "500 Oops" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nwell");
        let _ = visitor.write_all(answer.as_bytes());
    });
    let relay = FakeRelay::new();
    let port = service.port();
    let agent = Agent::start(
        &relay,
        &format!(
            "service_on = http:kite.test:127.0.0.1:{port}:SECRET\n\
             service_cfg = kite.test/80 : healthcheck : /health\n"
        ),
    );
    let mut tunnel = relay.accept_flying();
    agent.wait_for_log("fails its health check, no visitors: the answer to /health is");
    tunnel.send(&open_frame(5, &Open::HTTP, GET));
    tunnel.until("the page", |tunnel| tunnel.visit(5).is_over());
    assert!(!tunnel.visit(5).text().ends_with("well"), "a closed service was asked");
    is_well.store(true, Ordering::Relaxed);
    agent.wait_for_log("is well again: visitors are let in");
    tunnel.send(&open_frame(7, &Open::HTTP, GET));
    tunnel.until("the answer", |tunnel| tunnel.visit(7).text().ends_with("well"));
}
