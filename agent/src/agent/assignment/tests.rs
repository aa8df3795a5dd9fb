use super::*;

fn endpoint(name: &str) -> Endpoint {
    Endpoint { relay: RelayAddress { host: name.to_owned(), port: 443 }, address: None }
}

fn kites(names: &[&str]) -> Vec<KiteId> {
    names.iter().map(|name| format!("http:{name}.test").parse().expect("a kite")).collect()
}

fn flying(names: &[&str]) -> Report {
    Report { flying: kites(names), ..Report::default() }
}

fn refusing(flying: &[&str], refused: &[&str]) -> Report {
    Report { flying: kites(flying), refused: kites(refused), ..Report::default() }
}

/// The ids that were started.
fn started(moves: &[Move]) -> Vec<u32> {
    moves
        .iter()
        .filter_map(|step| if let Move::Start { id, .. } = step { Some(*id) } else { None })
        .collect()
}

#[test]
fn each_relay_gets_all_kites_and_then_nothing_happens() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a"), endpoint("b")];
    let moves = all.decide(&wanted, &kites(&["one", "two"]));
    assert_eq!(started(&moves), [1, 2]);
    assert_eq!(all.decide(&wanted, &kites(&["one", "two"])), []);
    all.report(1, flying(&["one", "two"]));
    assert!(all.any_flies());
    assert_eq!(all.decide(&wanted, &kites(&["one", "two"])), []);
}

#[test]
fn a_relay_that_is_not_wanted_any_more_drains_once_the_other_flies() {
    let mut all = Assignments::default();
    let (old, new) = ([endpoint("old")], [endpoint("new")]);
    all.decide(&old, &kites(&["one"]));
    all.report(1, flying(&["one"]));
    assert_eq!(started(&all.decide(&new, &kites(&["one"]))), [2]);
    all.report(2, flying(&["one"]));
    assert_eq!(all.decide(&new, &kites(&["one"])), [Move::Drain(1)]);
    assert_eq!(all.decide(&new, &kites(&["one"])), []);
    all.report(1, Report { has_ended: true, ..Report::default() });
    assert_eq!(all.decide(&new, &kites(&["one"])), []);
}

#[test]
fn a_relay_that_flies_nothing_and_is_not_wanted_is_left_at_once() {
    let mut all = Assignments::default();
    all.decide(&[endpoint("old")], &kites(&["one"]));
    let moves = all.decide(&[endpoint("new")], &kites(&["one"]));
    assert!(moves.contains(&Move::Stop(1)));
}

#[test]
fn a_new_kite_gets_a_tunnel_of_its_own_beside_one_that_flies() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    all.decide(&wanted, &kites(&["one"]));
    all.report(1, flying(&["one"]));
    let moves = all.decide(&wanted, &kites(&["one", "two"]));
    assert_eq!(
        moves,
        [Move::Start {
            id: 2,
            endpoint: endpoint("a"),
            kites: kites(&["two"]),
            is_refused: false,
            is_successor: false,
            is_main: false,
        }]
    );
}

#[test]
fn a_new_kite_joins_a_tunnel_that_is_still_to_come() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    all.decide(&wanted, &kites(&["one"]));
    let both = kites(&["one", "two"]);
    assert_eq!(all.decide(&wanted, &both), [Move::SetKites { id: 1, kites: both.clone() }]);
}

#[test]
fn a_refused_kite_is_asked_for_apart_and_later() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    let both = kites(&["one", "two"]);
    all.decide(&wanted, &both);
    all.report(1, refusing(&["one"], &["two"]));
    let moves = all.decide(&wanted, &both);
    assert!(moves.contains(&Move::SetKites { id: 1, kites: kites(&["one"]) }));
    assert!(moves.iter().any(|step| matches!(step, Move::Start { id: 2, is_refused: true, .. })));
    all.report(2, refusing(&[], &["two"]));
    assert_eq!(all.decide(&wanted, &both), []);
}

#[test]
fn when_all_tunnels_are_lost_the_next_one_carries_all_kites() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    let both = kites(&["one", "two"]);
    all.decide(&wanted, &kites(&["one"]));
    all.report(1, flying(&["one"]));
    all.decide(&wanted, &both);
    all.report(2, flying(&["two"]));
    all.report(1, Report::default());
    assert_eq!(all.decide(&wanted, &both), [], "the second flies on");
    all.report(2, Report::default());
    let moves = all.decide(&wanted, &both);
    assert_eq!(moves, [Move::Stop(2), Move::SetKites { id: 1, kites: both.clone() }]);
}

#[test]
fn a_kite_that_is_gone_leaves_the_list_and_the_last_one_ends_the_tunnel() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    all.decide(&wanted, &kites(&["one", "two"]));
    all.report(1, flying(&["one", "two"]));
    let moves = all.decide(&wanted, &kites(&["two"]));
    assert_eq!(moves, [Move::SetKites { id: 1, kites: kites(&["two"]) }]);
    let moves = all.decide(&wanted, &kites(&["three"]));
    assert!(moves.contains(&Move::Drain(1)));
    assert_eq!(started(&moves), [2]);
}

#[test]
fn a_relay_that_has_moved_is_followed_before_the_old_tunnel_drains() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    all.decide(&wanted, &kites(&["one"]));
    all.report(1, Report { has_moved: true, ..flying(&["one"]) });
    let moves = all.decide(&wanted, &kites(&["one"]));
    assert!(matches!(moves[..], [Move::Start { id: 2, is_successor: true, .. }]));
    assert_eq!(all.decide(&wanted, &kites(&["one"])), []);
    all.report(2, flying(&["one"]));
    assert_eq!(all.decide(&wanted, &kites(&["one"])), [Move::Drain(1)]);
    assert_eq!(all.decide(&wanted, &kites(&["one"])), []);
}

#[test]
fn a_relay_that_only_seemed_to_move_keeps_its_tunnel() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    all.decide(&wanted, &kites(&["one"]));
    all.report(1, Report { has_moved: true, ..flying(&["one"]) });
    all.decide(&wanted, &kites(&["one"]));
    all.report(2, refusing(&[], &["one"]));
    assert_eq!(all.decide(&wanted, &kites(&["one"])), [Move::Stop(2)]);
    all.report(1, Report { has_moved: true, ..flying(&["one"]) });
    assert_eq!(all.decide(&wanted, &kites(&["one"])), [], "told again, and known");
}

#[test]
fn a_kite_refused_beside_one_that_flies_in_an_extra_tunnel_is_set_apart_as_well() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    let three = kites(&["one", "two", "three"]);
    all.decide(&wanted, &three);
    all.report(1, refusing(&["one"], &["two", "three"]));
    all.decide(&wanted, &three);
    all.report(2, refusing(&["two"], &["three"]));
    let moves = all.decide(&wanted, &three);
    assert!(moves.contains(&Move::SetKites { id: 2, kites: kites(&["two"]) }));
    assert_eq!(started(&moves), [3]);
}

#[test]
fn when_the_main_tunnels_last_kite_goes_another_tunnel_is_the_main_one() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    all.decide(&wanted, &kites(&["one"]));
    all.report(1, flying(&["one"]));
    all.decide(&wanted, &kites(&["one", "two"]));
    all.report(2, flying(&["two"]));
    assert_eq!(all.decide(&wanted, &kites(&["two"])), [Move::Drain(1)]);
    all.report(2, Report { has_moved: true, ..flying(&["two"]) });
    assert_eq!(started(&all.decide(&wanted, &kites(&["two"]))), [3], "it is followed");
}

#[test]
fn extra_tunnels_are_bounded() {
    let mut all = Assignments::default();
    let wanted = [endpoint("a")];
    let names: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    all.decide(&wanted, &kites(&names[..1]));
    all.report(1, flying(&names[..1]));
    let mut count = 1;
    for last in 2..=names.len() {
        for id in started(&all.decide(&wanted, &kites(&names[..last]))) {
            count += 1;
            all.report(id, flying(&names[last - 1..last]));
        }
    }
    assert_eq!(count, 1 + MAX_EXTRAS);
}
