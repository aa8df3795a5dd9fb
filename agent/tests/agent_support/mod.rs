//! What the tests of the running agent share: the program itself, relays whose
//! every byte the test decides on, and services that misbehave. Loopback only,
//! ports from the kernel.
//!
//! The relay reads the agent's frames with a parser of its own, so that a
//! mistake in the program's is not made twice.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub)]

mod agent;
mod deflater;
mod relay;
mod service;
mod tunnel;

use std::thread;
use std::time::{Duration, Instant};

#[allow(unused_imports)]
pub use agent::{Agent, SECRET, raw_service};
#[allow(unused_imports)]
pub use deflater::Deflater;
#[allow(unused_imports)]
pub use relay::{FakeRelay, Reply};
#[allow(unused_imports)]
pub use service::{Service, dead_port};
#[allow(unused_imports)]
pub use tunnel::{Frame, Open, Tunnel, Visit, frame, open_frame};

/// Far beyond what any step takes here, and an end for a test that hangs.
pub const LONG: Duration = Duration::from_secs(30);
/// Long enough to see that an agent does not do what it must not.
pub const A_WHILE: Duration = Duration::from_millis(700);

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

/// Bytes that show by their values when some are lost or swapped.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
