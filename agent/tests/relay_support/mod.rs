//! What the tests of bad input at the relay share: the program itself, agents
//! that go by the rules or break every one of them, and visitors from any
//! address. Loopback only, ports from the kernel.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub)]

mod bystander;
mod kite;
mod relay;
mod tunnel;
mod visitor;

use std::thread;
use std::time::{Duration, Instant};

#[allow(unused_imports)]
pub use bystander::Bystander;
#[allow(unused_imports)]
pub use kite::{BIG_BYTES, Kite, PAGE};
#[allow(unused_imports)]
pub use relay::{GOOD_ADDRESS, Relay, SECRET};
#[allow(unused_imports)]
pub use tunnel::{Salts, Tunnel, frame, request_for};
#[allow(unused_imports)]
pub use visitor::{Ended, ask, connect_from, first_line, read_all, reset, send, status, statuses};

/// Far beyond what any step takes here, and an end for a test that hangs.
pub const LONG: Duration = Duration::from_secs(30);

/// Waits until `done` returns something.
pub fn wait_for<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Bytes that are the same at each run and look like nothing in particular.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Fails when the relay has come to use more than `megabytes` more than the
/// `before` kilobytes that it used.
pub fn assert_modest(relay: &Relay, before: usize, megabytes: usize) {
    let (now, peak) = (relay.resident(), relay.peak());
    let most = before + megabytes * 1024;
    assert!(peak <= most, "{before} KB before, {now} KB now, {peak} KB at the peak");
}
