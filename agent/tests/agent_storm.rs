//! Ten thousand agents lose one relay at the same moment: when do they come?
//! The waits are the agent's own ([`Care`]), time is virtual.
//!
//! `WRITE_PLOT=1 cargo test -p kitelet --test agent_storm` draws
//! `agent/docs/reconnect_storm.svg` anew.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use kitelet::agent::backoff::{Caps, Failure};
use kitelet::agent::care::Care;

const AGENTS: usize = 10_000;
/// How long the relay is away.
const OUTAGES: [(u64, &str); 3] = [(5, "5 s"), (60, "60 s"), (1200, "20 min")];
/// Seconds after its return that are looked at.
const SHOWN_SECONDS: usize = 60;

/// Numbers that look random (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 32) as u32
    }
}

/// How many agents come back in each second after the relay's return, and the
/// most tries in a second before it, the first one left out.
fn storm(outage: Duration) -> (Vec<usize>, usize) {
    let mut numbers = Numbers(1);
    let start = Instant::now();
    let mut agents: Vec<Care> = (0..AGENTS).map(|_| Care::new(start, Caps::default())).collect();
    let loss = start + Duration::from_secs(3600);
    let mut due = BinaryHeap::new();
    for (index, care) in agents.iter_mut().enumerate() {
        care.begins(start);
        care.flies(start);
        let wait = care.ended(loss, Failure::Network, numbers.next());
        due.push(Reverse((loss + wait, index)));
    }
    let back = loss + outage;
    let mut arrivals = vec![0; SHOWN_SECONDS];
    let mut tries = vec![0; usize::try_from(outage.as_secs()).expect("short") + 1];
    while let Some(Reverse((now, index))) = due.pop() {
        agents[index].begins(now);
        if now >= back {
            let second = (now - back).as_secs() as usize;
            assert!(second < SHOWN_SECONDS, "an agent comes after more than a minute");
            arrivals[second] += 1;
        } else {
            tries[(now - loss).as_secs() as usize] += 1;
            let wait = agents[index].failed(now, Failure::Network, numbers.next());
            due.push(Reverse((now + wait, index)));
        }
    }
    (arrivals, tries.into_iter().skip(1).max().unwrap_or(0))
}

#[test]
fn agents_of_a_relay_that_returns_do_not_come_together() {
    let mut curves = Vec::new();
    for (seconds, name) in OUTAGES {
        let (arrivals, most_tries) = storm(Duration::from_secs(seconds));
        let peak = *arrivals.iter().max().expect("seconds");
        println!("away for {name}: at most {most_tries} tries a second, {peak} arrivals a second");
        assert_eq!(arrivals.iter().sum::<usize>(), AGENTS, "all come back");
        curves.push((name, arrivals, peak));
    }
    assert!(curves[0].2 < AGENTS / 3, "{} arrivals in one second", curves[0].2);
    // After a long outage the waits are long, and the arrivals spread.
    assert!(curves[1].2 < AGENTS / 5, "{} arrivals in one second", curves[1].2);
    assert!(curves[2].2 < AGENTS / 20, "{} arrivals in one second", curves[2].2);
    if std::env::var_os("WRITE_PLOT").is_some() {
        std::fs::write("docs/reconnect_storm.svg", plot(&curves)).expect("written");
    }
}

/// The arrival curves, one below the other.
fn plot(curves: &[(&str, Vec<usize>, usize)]) -> String {
    const WIDTH: usize = 640;
    const HEIGHT: usize = 120;
    const BAR: usize = 10;
    let mut svg = String::new();
    let total = curves.len() * (HEIGHT + 40) + 30;
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {total}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{total}\" fill=\"white\"/>"
    );
    for (row, (name, arrivals, peak)) in curves.iter().enumerate() {
        let bottom = (row + 1) * (HEIGHT + 40) - 10;
        let top = bottom - HEIGHT;
        let _ = writeln!(
            svg,
            "<text x=\"20\" y=\"{}\">relay away for {name}: at most {peak} of {AGENTS} agents \
             in one second</text>\n\
             <line x1=\"20\" y1=\"{bottom}\" x2=\"620\" y2=\"{bottom}\" stroke=\"#888\"/>",
            top - 6
        );
        for (second, count) in arrivals.iter().enumerate().filter(|(_, count)| **count > 0) {
            let height = (count * HEIGHT / peak).max(1);
            let _ = writeln!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{height}\" fill=\"#2a6fb0\"/>",
                20 + second * BAR,
                bottom - height,
                BAR - 1
            );
        }
    }
    let y = total - 10;
    for second in [0, 15, 30, 45, 60] {
        let x = 20 + second * BAR;
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">{second} s</text>");
    }
    svg.push_str("</svg>\n");
    svg
}
