//! Two sessions joined by byte pipes, with a clock that only moves when told:
//! whatever the two drivers do and however the bytes are cut, what one sends
//! the other receives, and nothing is left behind.

mod wire_pair;

use std::time::Duration;

use kitelet::wire::{Event, HALF_CLOSED_LIMIT, Role, Session};
use proptest::prelude::*;
use wire_pair::{Action, End, Pair, settings};

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Agent), Just(End::Relay)]
}

fn length() -> impl Strategy<Value = usize> {
    prop_oneof![1..40_usize, 1..2000_usize, 1..16_257_usize]
}

fn action() -> impl Strategy<Value = Action> {
    let pick = any::<u8>();
    prop_oneof![
        2 => (0..2000_usize).prop_map(|body| Action::Open { body }),
        6 => (end(), pick, length(), 1..14_usize)
            .prop_map(|(end, pick, length, times)| Action::Send { end, pick, length, times }),
        4 => (end(), pick, 0..100_000_usize)
            .prop_map(|(end, pick, bytes)| Action::Deliver { end, pick, bytes }),
        2 => (end(), pick, 1..4_u8)
            .prop_map(|(end, pick, halves)| Action::Close { end, pick, halves }),
        6 => (end(), 1..100_000_usize, any::<u64>())
            .prop_map(|(end, bytes, cut)| Action::Transfer { end, bytes, cut }),
        1 => end().prop_map(|end| Action::Ping { end }),
    ]
}

fn action_or_pause() -> impl Strategy<Value = Action> {
    let pause = prop_oneof![0..500_u64, 0..150_000_u64];
    prop_oneof![12 => action(), 1 => pause.prop_map(|milliseconds| Action::Wait { milliseconds })]
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    proptest::collection::vec(action_or_pause(), 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn what_one_end_sends_the_other_receives(
        actions in actions(), compress: bool, guard: bool, room in 2..6_usize
    ) {
        let mut pair = Pair::new(compress, guard, room);
        for action in actions {
            pair.act(action);
        }
        pair.settle();
        pair.assert_all_received();
        pair.close_all();
        prop_assert_eq!(pair.stream_counts(), [0, 0]);
    }

    #[test]
    fn no_read_of_the_reference_holds_150_frames(
        actions in proptest::collection::vec(tiny_action(), 1..500), compress: bool
    ) {
        let mut pair = Pair::new(compress, true, 200);
        for action in actions {
            pair.act(action);
        }
        pair.settle();
        pair.close_all();
        prop_assert!(pair.most_in_a_read() < 150);
    }

    #[test]
    fn what_is_sent_while_nothing_is_heard_may_arrive_in_one_read(
        actions in proptest::collection::vec(lonely_action(), 1..500)
    ) {
        let mut pair = Pair::new(false, true, 5);
        for _ in 0..5 {
            pair.act(Action::Open { body: 10 });
        }
        pair.settle();
        for action in actions {
            pair.act(action);
        }
        let [frames, _] = pair.frames();
        let lengths: Vec<usize> = frames.iter().map(|&(_, length)| length).collect();
        prop_assert!(most_frames_in_a_read(&lengths) < 150);
    }

    #[test]
    fn the_cut_makes_no_difference(actions in actions(), compress: bool, cut in 1..u64::MAX) {
        let mut pair = Pair::new(compress, false, 5);
        for action in actions {
            pair.act(action);
        }
        pair.settle();
        for (end, bytes) in [(End::Agent, pair.sent_by(End::Relay)), (End::Relay, pair.sent_by(End::Agent))] {
            let whole = events(end, &[bytes]);
            prop_assert_eq!(&events(end, &wire_pair::cuts(bytes, cut)), &whole);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&events(end, &single), &whole);
        }
    }
}

/// Many small frames at one moment.
fn tiny_action() -> impl Strategy<Value = Action> {
    let pick = any::<u8>();
    prop_oneof![
        3 => (0..20_usize).prop_map(|body| Action::Open { body }),
        6 => (end(), pick, prop_oneof![8 => 1..30_usize, 1 => 1..16_257_usize], 1..14_usize)
            .prop_map(|(end, pick, length, times)| Action::Send { end, pick, length, times }),
        3 => (end(), pick, 0..100_000_usize)
            .prop_map(|(end, pick, bytes)| Action::Deliver { end, pick, bytes }),
        2 => (end(), pick, 1..4_u8)
            .prop_map(|(end, pick, halves)| Action::Close { end, pick, halves }),
        3 => (end(), 1..100_000_usize, Just(0))
            .prop_map(|(end, bytes, cut)| Action::Transfer { end, bytes, cut }),
        1 => end().prop_map(|end| Action::Ping { end }),
    ]
}

/// An agent that talks and hears nothing.
fn lonely_action() -> impl Strategy<Value = Action> {
    let (end, pick) = (End::Agent, any::<u8>());
    prop_oneof![
        6 => (pick, 1..30_usize)
            .prop_map(move |(pick, length)| Action::Send { end, pick, length, times: 1 }),
        3 => (0..1000_u64).prop_map(|milliseconds| Action::Wait { milliseconds }),
        1 => (1..5000_usize).prop_map(move |bytes| Action::Transfer { end, bytes, cut: 0 }),
    ]
}

/// The most frames that any 50,393 bytes of `frames` hold (`protocol.md` 5).
fn most_frames_in_a_read(frames: &[usize]) -> usize {
    let (mut first, mut bytes, mut most) = (0, 0, 0);
    for (last, length) in frames.iter().enumerate() {
        bytes += length;
        while bytes > 50_393 {
            bytes -= frames[first];
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

/// The events of a session whose driver does nothing, data joined.
fn events(end: End, parts: &[&[u8]]) -> Vec<String> {
    let role = if end == End::Agent { Role::Agent } else { Role::Relay };
    let mut session = Session::new(settings(role, false, false, 100));
    let now = std::time::Instant::now();
    let mut events = Vec::new();
    let mut data: Option<(u32, Vec<u8>)> = None;
    for mut part in parts.iter().copied() {
        while let Some(event) = session.receive(now, &mut part).expect("valid") {
            match (event, &mut data) {
                (Event::Progress, _) => {}
                (Event::Data { stream, bytes }, Some((same, joined))) if *same == stream => {
                    joined.extend_from_slice(bytes);
                }
                (event, _) => {
                    events.extend(
                        data.take()
                            .map(|(stream, bytes)| format!("{stream}: {}", bytes.escape_ascii())),
                    );
                    match event {
                        Event::Data { stream, bytes } => data = Some((stream, bytes.to_vec())),
                        event => events.push(format!("{event:?}")),
                    }
                }
            }
        }
        assert!(part.is_empty(), "input is left over");
    }
    events.extend(data.map(|(stream, bytes)| format!("{stream}: {}", bytes.escape_ascii())));
    events
}

#[test]
fn a_request_and_its_response_leave_nothing_behind() {
    for compress in [false, true] {
        let mut pair = Pair::new(compress, true, 2);
        for _ in 0..500 {
            pair.act(Action::Open { body: 300 });
            pair.settle();
            pair.act(Action::Send { end: End::Agent, pick: 0, length: 16_000, times: 3 });
            pair.close(End::Agent, 0, 1);
            pair.settle();
            pair.close(End::Relay, 0, 1);
            pair.settle();
            pair.assert_all_received();
            assert_eq!(pair.stream_counts(), [0, 0]);
            pair.forget();
        }
    }
}

#[test]
fn a_slow_receiver_stops_its_own_stream_only() {
    let mut pair = Pair::new(false, false, 5);
    pair.act(Action::Open { body: 10 });
    pair.act(Action::Open { body: 10 });
    pair.pass_all();
    let blast = |pick| Action::Send { end: End::Agent, pick, length: 16_000, times: 14 };
    for _ in 0..20 {
        pair.act(blast(0));
        pair.pass_all();
    }
    let stuck = pair.sent_on(End::Agent, 0);
    assert!(stuck <= kitelet::wire::FIRST_WINDOW_BYTES && stuck > 40_000, "{stuck}");
    for _ in 0..20 {
        pair.act(blast(1));
        pair.pass_all();
        pair.act(Action::Deliver { end: End::Relay, pick: 1, bytes: usize::MAX });
        pair.pass_all();
    }
    assert_eq!(pair.sent_on(End::Agent, 0), stuck);
    assert!(pair.sent_on(End::Agent, 1) > 1_000_000);
}

#[test]
fn a_half_closed_stream_goes_away_at_both_ends() {
    for (end, halves) in [(End::Agent, 1), (End::Agent, 2), (End::Relay, 1), (End::Relay, 2)] {
        let mut pair = Pair::new(false, false, 5);
        pair.act(Action::Open { body: 10 });
        pair.act(Action::Open { body: 10 });
        pair.settle();
        pair.close(end, 0, halves);
        pair.settle();
        assert_eq!(pair.stream_counts(), [2, 2]);
        let almost = HALF_CLOSED_LIMIT - Duration::from_secs(1);
        pair.act(Action::Wait { milliseconds: almost.as_millis() as u64 });
        pair.settle();
        assert_eq!(pair.stream_counts(), [2, 2]);
        pair.act(Action::Wait { milliseconds: 10_000 });
        pair.settle();
        assert_eq!(pair.stream_counts(), [1, 1], "{end:?}, {halves}");
        pair.act(Action::Wait { milliseconds: 7 * 24 * 3600 * 1000 });
        pair.settle();
        assert_eq!(pair.stream_counts(), [1, 1], "open streams have no limit");
    }
}
