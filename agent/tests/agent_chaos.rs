//! A relay without any sense: random frames for few streams, in any order, to
//! services of all kinds. The agent may refuse what it likes; it has to live,
//! stay within its bounds and serve a visitor in the end.

mod agent_support;

use std::io::{Read, Write};
use std::time::Duration;

use agent_support::{Agent, FakeRelay, Open, Service, dead_port, frame, open_frame, pattern};

/// xorshift32: the same frames in each run.
struct Random(u32);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as usize % bound
    }
}

/// One frame that makes sense by itself.
fn any_frame(random: &mut Random) -> Vec<u8> {
    let stream = random.below(12) as u32;
    match random.below(10) {
        0..3 => {
            let host = ["echo.test", "deaf.test", "dead.test", "short.test", "none.test"];
            let host = host[random.below(host.len())];
            let protocol = ["http", "raw", "https"][random.below(3)];
            let body =
                [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"GET /admin HTTP/1.1\r\n\r\n", b"GET "];
            let body = body[random.below(body.len())];
            open_frame(stream, &Open { protocol, host, more: "RIP: 192.0.2.1\r\n" }, body)
        }
        3..6 => frame(&format!("SID: {stream}\r\n"), &pattern(random.below(2000))),
        6 => {
            let letters = ["R", "W", "WR", "rw", ""][random.below(5)];
            frame(&format!("SID: {stream}\r\nEOF: 1{letters}\r\n"), b"Bye!")
        }
        7 => {
            let kilobytes = random.below(1000);
            frame(&format!("NOOP: 1\r\nSID: {stream}\r\nSKB: {kilobytes}\r\n"), b"")
        }
        8 => frame("NOOP: 1\r\nPING: x\r\n", b"!"),
        _ => {
            let lines = [
                "X-PageKite-Misc: motd=\r\n",
                "X-PageKite-Duplicate: http:echo.test:0\r\n",
                "X-PageKite-SignThis: http:echo.test:0:1\r\n",
                "Quota: 5\r\n",
                "ZRST: 1\r\n",
            ];
            frame(&format!("NOOP: 1\r\n{}", lines[random.below(lines.len())]), b"!")
        }
    }
}

fn chaos(seed: u32, settings: &str) {
    let short = Service::new(|mut socket| {
        let _ = socket.read(&mut [0; 10]);
        let _ = socket.write_all(&pattern(5000));
    });
    let relay = FakeRelay::new();
    let mut lines = format!("{settings}\nbuffers = 256\nmax_streams = 8\n");
    let services = [
        ("echo", Service::echo().port()),
        ("deaf", Service::deaf().port()),
        ("dead", dead_port()),
        ("short", short.port()),
    ];
    for (name, port) in services {
        lines += &format!("service_on = http,raw,https:{name}.test:127.0.0.1:{port}:SECRET\n");
    }
    let mut agent = Agent::start(&relay, &lines);
    let mut tunnel = relay.accept_flying();
    tunnel.ping("there");
    tunnel.knows_ends = false;
    tunnel.confirms = false;
    let descriptors = agent.descriptors();
    let mut random = Random(seed);
    for _ in 0..60 {
        let count = 1 + random.below(100);
        let bytes: Vec<u8> = (0..count).flat_map(|_| any_frame(&mut random)).collect();
        tunnel.send(&bytes);
        tunnel.listen(Duration::from_millis(2));
        assert!(agent.descriptors() <= descriptors + 8 + 1, "more than max_streams");
    }
    tunnel.ping("after all that");
    for stream in 0..12 {
        tunnel.eof(stream, "WR");
    }
    tunnel.ping("all closed");
    tunnel.visits.clear();
    let echo = Open { host: "echo.test", ..Open::RAW };
    tunnel.open(100, &echo, b"hello");
    tunnel.until("the echo", |tunnel| tunnel.visit(100).data == b"hello");
    assert!(agent.is_alive());
}

#[test]
fn frames_without_sense_do_no_harm() {
    for seed in [1, 77, 4242, 990_017] {
        chaos(seed, "");
    }
}

#[test]
fn frames_without_sense_do_no_harm_to_an_agent_that_compresses() {
    chaos(31, "zchunks");
}
