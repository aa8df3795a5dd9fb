//! A world in which one device and one relay meet every trouble that a seed
//! brings: links that fail with and without a sign, NATs that forget, relays
//! that restart and hang. Time is virtual. The decisions are the agent's own
//! ([`Care`], [`Keepalive`], [`Heartbeat`](kitelet::wire::Heartbeat)) and so is
//! the protocol ([`Session`](kitelet::wire::Session)).

mod device;
pub(crate) mod link;
mod relay;
pub(crate) mod tunnel;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use kitelet::agent::backoff::{Caps, Failure};
use kitelet::agent::care::{Care, Change};
use kitelet::agent::keepalive::Keepalive;
use link::{End, Piece, Wire};
use tunnel::Tunnel;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// Patience with a connection that is not answered, and with a handshake.
const DIAL_TIME: Duration = Duration::from_secs(10);
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);
/// When a kernel repeats the first packet of a connection.
const DIALS: [Duration; 4] =
    [Duration::ZERO, SECOND, Duration::from_secs(3), Duration::from_secs(7)];
const KEEPALIVE: Duration = Duration::from_secs(80);
/// A window of time in which tries are counted, and the most there may be: one
/// a second where changes bring them about, and those of the first waits.
const TRY_WINDOW: Duration = Duration::from_secs(10);
const MOST_TRIES: usize = 16;
/// From the last cure to a tunnel, at most: an idle tunnel that is dead is
/// noticed within keepalive + 10 s and its round trips, a try that hangs within
/// 30 s, and the next one follows within a minute.
pub(crate) const LONGEST_RETURN: Duration = Duration::from_secs(200);
/// The same where the cure is seen and nothing stands.
pub(crate) const QUICK_RETURN: Duration = Duration::from_secs(5);

/// A fault, and how it looks from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The cable is out, and the device knows.
    Unplugged,
    /// Everything is swallowed somewhere.
    BlackHole,
    /// A NAT forgets the connections; new ones pass.
    Forgotten,
    /// The relay is gone and comes back with no memory.
    RelayGone,
    /// The relay hangs while its kernel lives.
    RelayHangs,
    /// The device gets another address.
    NewAddress,
    /// Round trips of seconds, and losses.
    Slow,
}

pub(crate) const FAULTS: [Fault; 7] = [
    Fault::Unplugged,
    Fault::BlackHole,
    Fault::Forgotten,
    Fault::RelayGone,
    Fault::RelayHangs,
    Fault::NewAddress,
    Fault::Slow,
];

enum What {
    Fault,
    Cure(Fault),
    Visit,
    Check,
    Device,
    Relay(u64),
    Dial(u64),
    Deadline(u64),
    Deliver(u64, End),
}

enum Phase {
    Idle,
    Dialling(u64),
    Greeting(u64),
    Flying(u64, Box<Tunnel>),
}

/// A tunnel at the relay.
struct Held {
    tunnel: Tunnel,
    session: u64,
}

pub(crate) struct World {
    seed: u64,
    random: u64,
    pub(crate) now: Instant,
    start: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    what: BTreeMap<u64, What>,
    sequence: u64,
    wires: BTreeMap<u64, Wire>,
    last_wire: u64,
    link_is_up: bool,
    is_plugged: bool,
    relay_is_up: bool,
    relay_hangs: bool,
    is_slow: bool,
    care: Care,
    keepalive: Keepalive,
    phase: Phase,
    session: Option<u64>,
    held: BTreeMap<u64, Held>,
    last_session: u64,
    visits: u64,
    tries: VecDeque<Instant>,
    last_cure: Instant,
    cure: Option<(Fault, bool)>,
    /// Events so far.
    pub(crate) events: u64,
    pub(crate) completed: u64,
    /// From a cure to a tunnel, where one had to come anew.
    pub(crate) returns: BTreeMap<Fault, Vec<Duration>>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let start = Instant::now();
        let mut world = Self {
            seed,
            random: seed,
            now: start,
            start,
            queue: BinaryHeap::new(),
            what: BTreeMap::new(),
            sequence: 0,
            wires: BTreeMap::new(),
            last_wire: 0,
            link_is_up: true,
            is_plugged: true,
            relay_is_up: true,
            relay_hangs: false,
            is_slow: false,
            care: Care::new(start, Caps::default()),
            keepalive: Keepalive::new(start, KEEPALIVE, true),
            phase: Phase::Idle,
            session: None,
            held: BTreeMap::new(),
            last_session: 0,
            visits: 0,
            tries: VecDeque::new(),
            last_cure: start,
            cure: None,
            events: 0,
            completed: 0,
            returns: BTreeMap::new(),
        };
        world.at(Duration::ZERO, What::Device);
        world.at(30 * SECOND, What::Fault);
        world.at(SECOND, What::Visit);
        world.at(SECOND, What::Check);
        world
    }

    fn at(&mut self, after: Duration, what: What) {
        self.sequence += 1;
        self.what.insert(self.sequence, what);
        self.queue.push(Reverse((self.now + after, self.sequence)));
    }

    fn number(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn any(&mut self) -> u32 {
        self.number(1 << 32) as u32
    }

    /// The time of one way, with the repetitions of what is lost.
    fn delay(&mut self) -> Duration {
        if !self.is_slow {
            return Duration::from_millis(20 + self.number(20));
        }
        let mut delay = Duration::from_millis(900 + self.number(200));
        while self.number(10) == 0 {
            delay += 3 * SECOND;
        }
        delay
    }

    fn passes(&self, wire: u64) -> bool {
        let is_known = self.wires.get(&wire).is_some_and(|wire| !wire.is_forgotten);
        self.link_is_up && self.is_plugged && is_known
    }

    /// One event.
    pub(crate) fn step(&mut self) {
        let Some(Reverse((at, key))) = self.queue.pop() else { return };
        self.now = at;
        self.events += 1;
        match self.what.remove(&key) {
            Some(What::Fault) => self.fault(),
            Some(What::Cure(fault)) => self.cure(fault),
            Some(What::Visit) => self.visit(),
            Some(What::Check) => self.check(),
            Some(What::Device) => self.device(),
            Some(What::Relay(wire)) => self.relay(wire),
            Some(What::Dial(wire)) => self.dial(wire),
            Some(What::Deadline(wire)) => self.deadline(wire),
            Some(What::Deliver(wire, end)) => self.deliver(wire, end),
            None => {}
        }
    }

    pub(crate) fn fail(&self, text: &str) -> ! {
        let after = self.now - self.start;
        let phase = match &self.phase {
            Phase::Idle => "idle",
            Phase::Dialling(_) => "dialling",
            Phase::Greeting(_) => "greeting",
            Phase::Flying(..) => "flying",
        };
        let held = self.held.len();
        panic!(
            "seed {}, event {}, after {after:?}: {text} (device {phase}, relay holds {held})",
            self.seed, self.events
        )
    }

    fn fault(&mut self) {
        // The bounds are those of the last cure.
        self.cure = None;
        let fault = FAULTS[self.number(FAULTS.len() as u64) as usize];
        let mut lasts = Duration::from_millis(500 + self.number(20_000));
        if self.number(6) == 0 {
            lasts = SECOND * (60 + self.number(1200) as u32);
        }
        match fault {
            Fault::Unplugged => {
                self.is_plugged = false;
                self.tell(Change::Network);
            }
            Fault::BlackHole => self.link_is_up = false,
            Fault::Forgotten => {
                self.wires.values_mut().for_each(|wire| wire.is_forgotten = true);
                lasts = Duration::ZERO;
            }
            Fault::RelayGone => {
                self.relay_is_up = false;
                for (wire, _) in std::mem::take(&mut self.held) {
                    self.close(wire, End::Relay);
                }
            }
            Fault::RelayHangs => self.relay_hangs = true,
            Fault::NewAddress => {
                self.wires.values_mut().for_each(|wire| wire.is_forgotten = true);
                lasts = Duration::ZERO;
                if let Phase::Flying(wire, tunnel) = &self.phase {
                    // What the agent does when its tunnel's address is gone.
                    let wire = *wire;
                    self.completed += tunnel.completed;
                    self.phase = Phase::Idle;
                    self.care.renewed(self.now);
                    self.wires.remove(&wire);
                }
                self.tell(Change::Network);
            }
            Fault::Slow => self.is_slow = true,
        }
        self.at(lasts, What::Cure(fault));
        self.at(Duration::ZERO, What::Device);
    }

    fn cure(&mut self, fault: Fault) {
        let mut is_seen = false;
        match fault {
            Fault::Unplugged => {
                self.is_plugged = true;
                is_seen = true;
                self.tell(Change::Network);
            }
            Fault::BlackHole => self.link_is_up = true,
            Fault::RelayGone => self.relay_is_up = true,
            Fault::RelayHangs => {
                self.relay_hangs = false;
                let wires: Vec<u64> = self.wires.keys().copied().collect();
                for wire in wires {
                    self.at(Duration::ZERO, What::Deliver(wire, End::Relay));
                }
            }
            Fault::NewAddress => is_seen = true,
            Fault::Slow => self.is_slow = false,
            Fault::Forgotten => {}
        }
        self.last_cure = self.now;
        let stands = matches!(self.phase, Phase::Flying(..));
        self.cure = Some((fault, is_seen && !stands));
        let calm = if self.number(3) == 0 { 5 + self.number(60) } else { 200 + self.number(600) };
        self.at(SECOND * calm as u32, What::Fault);
        self.at(Duration::ZERO, What::Device);
    }

    /// Passes a change on as the agent's supervisor does.
    fn tell(&mut self, change: Change) {
        let again_at = self.care.change(self.now, change);
        if let (Some(at), Phase::Dialling(wire) | Phase::Greeting(wire)) = (again_at, &self.phase) {
            let (wire, after) = (*wire, at.saturating_duration_since(self.now));
            self.at(after, What::Deadline(wire));
        }
        if let Phase::Flying(_, tunnel) = &mut self.phase {
            tunnel.doubt(self.now);
        }
    }

    /// The invariants that hold at any time.
    fn check(&mut self) {
        self.at(SECOND, What::Check);
        let Some((fault, is_quick)) = self.cure else { return };
        let flies = matches!(&self.phase, Phase::Flying(wire, _)
            if self.held.contains_key(wire) && self.passes(*wire));
        let since = self.now - self.last_cure;
        if flies {
            self.cure = None;
            self.returns.entry(fault).or_default().push(since);
        } else if since > if is_quick { QUICK_RETURN } else { LONGEST_RETURN } {
            self.fail(&format!("no tunnel {since:?} after {fault:?} was over"));
        }
    }

    /// Sends what an end has to say.
    fn pump(&mut self, wire: u64, end: End) {
        let now = self.now;
        let Some(known) = self.wires.get_mut(&wire) else { return };
        let room = known.toward(end.other()).room();
        let tunnel = match end {
            End::Device => match &mut self.phase {
                Phase::Flying(_, tunnel) => &mut **tunnel,
                _ => return,
            },
            End::Relay => match self.held.get_mut(&wire) {
                Some(held) => &mut held.tunnel,
                None => return,
            },
        };
        let output = tunnel.output(now, room);
        if !output.is_empty() {
            self.push(wire, end.other(), Piece::Bytes(output));
        }
    }

    fn push(&mut self, wire: u64, to: End, piece: Piece) {
        let now = self.now;
        let Some(known) = self.wires.get_mut(&wire) else { return };
        if known.toward(to).push(now, piece) {
            let delay = self.delay();
            self.at(delay, What::Deliver(wire, to));
        }
    }

    /// An end closes its socket; the other end hears of it if it can.
    fn close(&mut self, wire: u64, end: End) {
        self.push(wire, end.other(), Piece::End);
    }

    fn deliver(&mut self, wire: u64, to: End) {
        let passes = self.passes(wire);
        let now = self.now;
        if to == End::Relay && self.relay_hangs {
            return;
        }
        let Some(known) = self.wires.get_mut(&wire) else { return };
        let pipe = known.toward(to);
        if pipe.is_empty() {
            return;
        }
        if !passes {
            match pipe.lose(now) {
                Some(pause) => self.at(pause, What::Deliver(wire, to)),
                // The sender's kernel gives up.
                None => self.broken(wire, to.other()),
            }
            return;
        }
        let Some(piece) = pipe.pass() else { return };
        if !pipe.is_empty() {
            let delay = Duration::from_millis(1 + self.number(5));
            self.at(delay, What::Deliver(wire, to));
        }
        match to {
            End::Relay => self.relay_hears(wire, piece),
            End::Device => self.device_hears(wire, piece),
        }
        // There is room for more.
        self.pump(wire, to.other());
    }

    fn broken(&mut self, wire: u64, end: End) {
        match end {
            End::Relay => {
                self.held.remove(&wire);
            }
            End::Device => match self.phase {
                Phase::Flying(known, _) if known == wire => self.lost(true),
                Phase::Greeting(known) if known == wire => self.failed(Failure::Network),
                _ => {}
            },
        }
        self.wires.remove(&wire);
    }
}
