//! DNS records of kites: told once for each change, with the right signature,
//! and what the service answers is told in words.

mod agent_support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use agent_support::{Agent, FakeRelay, SECRET, Service, raw_service, wait_for};
use kitelet::wire::{Salt, sign};

struct Updates(TcpListener);

impl Updates {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("non-blocking");
        Self(listener)
    }

    fn line(&self) -> String {
        let port = self.0.local_addr().expect("bound").port();
        format!("dyndns = http://127.0.0.1:{port}/?name=%(domain)s&to=%(ips)s&sign=%(sign)s\n")
    }

    /// The next request, and where it is answered.
    fn next(&self) -> (String, TcpStream) {
        let (mut socket, _) = wait_for("an update", || self.0.accept().ok());
        socket.set_nonblocking(false).expect("blocking");
        let mut request = Vec::new();
        let mut buffer = [0; 1024];
        while !request.ends_with(b"\r\n\r\n") {
            let length = socket.read(&mut buffer).expect("a request");
            request.extend_from_slice(&buffer[..length]);
        }
        (String::from_utf8(request).expect("text"), socket)
    }

    fn comes_within(&self, time: Duration) -> bool {
        std::thread::sleep(time);
        self.0.accept().is_ok()
    }
}

fn answer(mut socket: TcpStream, body: &str) {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    socket.write_all(format!("{head}{body}").as_bytes()).expect("taken");
}

#[test]
fn a_kite_that_flies_is_told_once() {
    let (relay, updates) = (FakeRelay::new(), Updates::new());
    let service = raw_service(Service::echo().port());
    let agent = Agent::start(&relay, &format!("{}{service}", updates.line()));
    let _tunnel = relay.accept_flying();
    let (request, socket) = updates.next();
    let line = request.lines().next().expect("a line");
    let (name, rest) = line.split_once("&to=").expect("addresses");
    assert_eq!(name, "GET /?name=kite.test");
    let (to, rest) = rest.split_once("&sign=").expect("a signature");
    assert_eq!(to, "127.0.0.1");
    let given = rest.trim_end_matches(" HTTP/1.0");
    let salt = u32::from_str_radix(&given[..8], 16).expect("a salt").to_be_bytes();
    let wanted = sign(SECRET.as_bytes(), b"kite.test:127.0.0.1", Salt::from_random(salt), 48);
    assert_eq!(given, wanted);
    answer(socket, "good 127.0.0.1\n");
    agent.wait_for_log("DNS: kite.test leads to 127.0.0.1 now");
    assert!(!updates.comes_within(Duration::from_millis(300)), "told twice");
}

#[test]
fn what_goes_wrong_is_told_and_the_kite_flies_on() {
    for (body, words) in [
        ("badauth", "the account or the kite's secret is wrong there"),
        ("<html>hello", "the service says \"\""),
        ("", "the service says \"\""),
    ] {
        let (relay, updates) = (FakeRelay::new(), Updates::new());
        let service = raw_service(Service::echo().port());
        let mut agent = Agent::start(&relay, &format!("{}{service}", updates.line()));
        let _tunnel = relay.accept_flying();
        answer(updates.next().1, body);
        agent.wait_for_log(words);
        agent.wait_for_log("was not updated");
        assert!(agent.is_alive());
    }
}

#[test]
fn an_endless_answer_costs_little() {
    let (relay, updates) = (FakeRelay::new(), Updates::new());
    let service = raw_service(Service::echo().port());
    let agent = Agent::start(&relay, &format!("{}{service}", updates.line()));
    let _tunnel = relay.accept_flying();
    let (_, mut socket) = updates.next();
    let mut sent = 0;
    while sent < 100_000_000 && socket.write_all(&[b'a'; 65_536]).is_ok() {
        sent += 65_536;
    }
    assert!(sent < 100_000_000, "all of it was read");
    agent.wait_for_log("the answer is not HTTP");
}
