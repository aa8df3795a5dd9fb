//! Name servers as authorities that answer, lie, stall and flood.
#![cfg(feature = "relay")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use kitelet::config::{Authority, AuthorityMeans};
use kitelet::relay::authority::{Asker, MAX_WAITING, Patience, Ruling};
use kitelet::wire::{KiteRequest, Quota, Salt};
use smol::future;

#[path = "relay_support/name_server.rs"]
mod name_server;

use name_server::{NameServer, a_record, answer, cname_record};

/// Short, where the test waits for the end of it.
const SHORT: Duration = Duration::from_millis(150);
/// Longer than any test has to wait on a busy machine.
const LONG: Duration = Duration::from_secs(30);
const NOW: u64 = 1_700_000_000;

fn patient() -> Patience {
    Patience { place: LONG, name_server: LONG, lookup: LONG, program: LONG }
}

fn request(domain: &str) -> KiteRequest {
    let id = format!("http:{domain}").parse().expect("valid");
    KiteRequest::sign(&id, "00aa", "t1bb", b"s3cret", Salt::from_random([1, 2, 3, 4]))
}

fn granted(kilobytes: i64) -> Ruling {
    let quota = Quota { kilobytes: Some(kilobytes), ..Quota::default() };
    Ruling::Granted { quota, secret: None }
}

fn refused(reason: &str) -> Ruling {
    Ruling::Refused(reason.to_owned())
}

fn dns_asker(server: SocketAddr, patience: Patience) -> Asker {
    let means = AuthorityMeans::Dns("auth.test".to_owned());
    let authorities = vec![Authority { kite_domain: "test".to_owned(), means }];
    Asker::new(authorities, 4, Some(server), patience)
}

fn ask(asker: &Asker) -> Ruling {
    smol::block_on(asker.ask(&request("kite.test"), NOW))
}

#[test]
fn a_name_server_grants_and_refuses() {
    for (records, ruling) in [
        (vec![a_record([0, 0, 4, 0])], granted(1024)),
        (vec![a_record([255, 255, 255, 0])], refused("unauthorized")),
        (vec![a_record([255, 255, 255, 1])], refused("unauthorized")),
        (vec![a_record([0, 0, 0, 0])], refused("quota")),
        (cname_record(b"\x06nodays\x010\x010\x010\x01x\0", [255, 255, 255, 1]), refused("nodays")),
    ] {
        let server = NameServer::start(move |question| vec![answer(question, &records)]);
        assert_eq!(ask(&dns_asker(server.address(), patient())), ruling);
        let question = server.questions().remove(0);
        let name = b"\x0400aa\x04t1bb\x24";
        assert!(question[12..].starts_with(name), "{question:?}");
        assert!(question.ends_with(b"\x04http\x04kite\x04test\x04auth\x04test\0\0\x01\0\x01"));
    }
    let records = cname_record(b"\x08ok-5-e10\x022a\x021e\x013\x01x\0", [0, 0, 200, 0]);
    let server = NameServer::start(move |question| vec![answer(question, &records)]);
    let quota = Quota {
        kilobytes: Some(51200),
        days: Some(30),
        connections: Some(3),
        visitors: Some((5, 3600)),
    };
    let ruling = ask(&dns_asker(server.address(), patient()));
    assert_eq!(ruling, Ruling::Granted { quota, secret: None });
}

#[test]
fn each_question_has_a_port_and_an_id_of_its_own() {
    let server = NameServer::start(|question| vec![answer(question, &[a_record([0, 0, 4, 0])])]);
    let asker = dns_asker(server.address(), patient());
    for _ in 0..8 {
        assert_eq!(ask(&asker), granted(1024));
    }
    let ids: BTreeSet<_> =
        server.questions().iter().map(|question| [question[0], question[1]]).collect();
    assert!(ids.len() >= 7, "ids repeat: {ids:?}");
    let ports: BTreeSet<_> = server.ports().into_iter().collect();
    assert!(ports.len() >= 7, "ports repeat: {ports:?}");
}

#[test]
fn forged_and_broken_packets_before_the_answer_are_passed_over() {
    let server = NameServer::start(|question| {
        let grant = answer(question, &[a_record([0, 0, 4, 0])]);
        let mut wrong_id = grant.clone();
        wrong_id[0] ^= 1;
        let mut wrong_question = grant.clone();
        wrong_question[13] ^= 1;
        let mut no_answer = grant.clone();
        no_answer[2] &= 0x7f;
        let cut = grant[..grant.len() - 1].to_vec();
        let refusal = answer(question, &[a_record([255, 255, 255, 1])]);
        vec![wrong_id, wrong_question, no_answer, cut, Vec::new(), vec![0xff; 5000], refusal]
    });
    assert_eq!(ask(&dns_asker(server.address(), patient())), refused("unauthorized"));
}

#[test]
fn a_flood_of_guesses_ends_the_try_and_the_next_one_has_another_id() {
    let server = NameServer::start(|question| {
        let mut guess = answer(question, &[a_record([0, 0, 4, 0])]);
        guess[0] ^= 1;
        vec![guess; 50]
    });
    assert_eq!(ask(&dns_asker(server.address(), patient())), Ruling::NoAnswer);
    assert_eq!(server.questions().len(), 2);
}

#[test]
fn only_the_asked_address_is_heard() {
    let server =
        NameServer::start_elsewhere(|question| vec![answer(question, &[a_record([0, 0, 4, 0])])]);
    let patience = Patience { name_server: SHORT, ..patient() };
    assert_eq!(ask(&dns_asker(server.address(), patience)), Ruling::NoAnswer);
    server.wait_for_questions(2);
}

#[test]
fn silence_errors_and_unknown_names_open_no_door() {
    let silent = NameServer::start(|_| Vec::new());
    let patience = Patience { name_server: SHORT, ..patient() };
    assert_eq!(ask(&dns_asker(silent.address(), patience)), Ruling::NoAnswer);
    let both = Patience { lookup: SHORT, ..patient() };
    assert_eq!(ask(&dns_asker(silent.address(), both)), Ruling::NoAnswer);
    for (code, tries) in [(2, 2), (3, 1), (5, 2)] {
        let server = NameServer::start(move |question| {
            let mut reply = answer(question, &[a_record([0, 0, 4, 0])]);
            reply[3] = code;
            vec![reply]
        });
        assert_eq!(ask(&dns_asker(server.address(), patient())), Ruling::NoAnswer, "{code}");
        assert_eq!(server.questions().len(), tries, "{code}");
    }
    let nobody = NameServer::free_address();
    assert_eq!(ask(&dns_asker(nobody, patient())), Ruling::NoAnswer);
}

#[test]
fn a_thousand_records_and_rings_of_aliases_open_no_door() {
    let many = vec![a_record([0, 0, 4, 0]); 1000];
    let ring = vec![b"\xc0\x0c\0\x05\0\x01\0\0\0\0\0\x02\xc0\x0c".to_vec(), a_record([0, 0, 4, 0])];
    for (records, reply_by_tcp) in [(many.clone(), false), (ring, false), (many, true)] {
        let server = NameServer::start(move |question| {
            let mut reply = answer(question, &records);
            if reply.len() > 4096 && !reply_by_tcp {
                reply.truncate(4096);
            }
            if reply_by_tcp {
                reply = answer(question, &[]);
                reply[2] |= 2;
            }
            vec![reply]
        });
        server.by_tcp(|question| answer(question, &vec![a_record([0, 0, 4, 0]); 1000]));
        assert_eq!(ask(&dns_asker(server.address(), patient())), Ruling::NoAnswer);
    }
}

#[test]
fn a_truncated_answer_is_asked_for_by_tcp() {
    let server = NameServer::start(|question| {
        // What a truncated answer holds does not count.
        let mut reply = answer(question, &[a_record([255, 255, 255, 1])]);
        reply[2] |= 2;
        vec![reply[..reply.len() - 3].to_vec()]
    });
    server.by_tcp(|question| answer(question, &[a_record([0, 0, 4, 0])]));
    let asker = dns_asker(server.address(), patient());
    assert_eq!(ask(&asker), granted(1024));

    server.by_tcp(|question| {
        let mut wrong_id = answer(question, &[a_record([0, 0, 4, 0])]);
        wrong_id[1] ^= 1;
        wrong_id
    });
    assert_eq!(ask(&asker), Ruling::NoAnswer);
    // Nothing, and the end.
    server.by_tcp(|_| Vec::new());
    assert_eq!(ask(&asker), Ruling::NoAnswer);
}

#[test]
fn a_request_that_is_no_question_is_refused_unasked() {
    let server = NameServer::start(|question| vec![answer(question, &[a_record([0, 0, 4, 0])])]);
    let asker = dns_asker(server.address(), patient());
    assert!(asker.covers("kite.test") && asker.covers("*.test") && !asker.covers("kite.net"));
    let mut injected = request("kite.test");
    injected.salt = "aa.tbb.cc.http.rich.test".to_owned();
    for request in [injected, request("kite.net"), request("a..test"), request("-x.test")] {
        let ruling = smol::block_on(asker.ask(&request, NOW));
        assert_eq!(ruling, refused("unauthorized"), "{request:?}");
    }
    assert!(server.questions().is_empty());
}

#[test]
fn questions_wait_in_line_and_the_line_has_an_end() {
    let server = NameServer::start(|_| Vec::new());
    let means = AuthorityMeans::Dns("auth.test".to_owned());
    let authorities = vec![Authority { kite_domain: String::new(), means }];
    let asker = Asker::new(authorities, 1, Some(server.address()), patient());
    let request = request("kite.test");
    smol::block_on(async {
        let mut first = Box::pin(asker.ask(&request, NOW));
        assert_eq!(future::poll_once(&mut first).await, None);
        let mut line = Vec::new();
        for _ in 0..MAX_WAITING {
            let mut next = Box::pin(asker.ask(&request, NOW));
            assert_eq!(future::poll_once(&mut next).await, None);
            line.push(next);
        }
        let at_once = future::poll_once(asker.ask(&request, NOW)).await;
        assert_eq!(at_once, Some(Ruling::NoAnswer));
        // Who leaves makes room, in the line and at its front.
        line.pop();
        let mut last = Box::pin(asker.ask(&request, NOW));
        assert_eq!(future::poll_once(&mut last).await, None);
        drop(first);
        assert_eq!(future::poll_once(&mut line[0]).await, None);
    });
    server.wait_for_questions(2);
    assert_eq!(server.questions().len(), 2, "one at a time");
}

#[test]
fn nobody_waits_in_line_for_ever() {
    let server = NameServer::start(|_| Vec::new());
    let asker = dns_asker(server.address(), Patience { place: SHORT, ..patient() });
    let request = request("kite.test");
    smol::block_on(async {
        let mut places: Vec<_> = (0..4).map(|_| Box::pin(asker.ask(&request, NOW))).collect();
        for place in &mut places {
            assert_eq!(future::poll_once(place).await, None);
        }
        assert_eq!(asker.ask(&request, NOW).await, Ruling::NoAnswer);
    });
    server.wait_for_questions(4);
}
