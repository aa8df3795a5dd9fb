//! Lookups against a name server that answers when the test says so.

use std::sync::mpsc;

use smol::future;

use super::*;

/// A resolver whose lookups wait for the test: what they ask comes out of the
/// receiver, with the sender that lets each of them go.
fn held() -> (Arc<Resolver>, mpsc::Receiver<(String, mpsc::Sender<()>)>) {
    let (asked, questions) = mpsc::channel();
    let asked = Mutex::new(asked);
    let lookup = move |host: &str| {
        let (release, released) = mpsc::channel();
        let asked = asked.lock().expect("lock").clone();
        asked.send((host.to_owned(), release)).expect("test listens");
        // An error means that the test has dropped the sender: go on as well.
        let _ = released.recv();
        match host {
            "nowhere" => Ok(Vec::new()),
            "unknown" => {
                Err(io::Error::other("failed to lookup address information: Name does not resolve"))
            }
            _ => Ok(vec![SocketAddr::from(([192, 0, 2, 7], 0))]),
        }
    };
    (Resolver::new(Box::new(lookup), Duration::from_millis(20)), questions)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn literals_and_localhost_need_no_lookup() {
    let literal = smol::block_on(resolve("192.0.2.1", 80)).expect("literal");
    assert_eq!(literal, [SocketAddr::from(([192, 0, 2, 1], 80))]);
    let literal = smol::block_on(resolve("2001:db8::1", 443)).expect("literal");
    assert_eq!(literal[0].to_string(), "[2001:db8::1]:443");
    let local = smol::block_on(resolve("LocalHost", 22)).expect("localhost");
    assert!(local.iter().all(|address| address.ip().is_loopback()));
    assert_eq!(local.len(), 2);
}

#[test]
fn answers_carry_the_port_and_failures_are_words() {
    let (resolver, questions) = held();
    thread::spawn(move || questions.iter().count());
    let ask = |host| smol::block_on(resolver.resolve(host, 443, soon()));
    assert_eq!(ask("relay").expect("found")[0].to_string(), "192.0.2.7:443");
    assert_eq!(
        ask("unknown").expect_err("unknown").to_string(),
        "cannot look up unknown: Name does not resolve (is it spelled right?)"
    );
    assert_eq!(ask("nowhere").expect_err("empty").failure, ResolveFailure::NoAddress);
}

#[test]
fn names_that_hang_leave_a_thread_for_the_others() {
    let (resolver, questions) = held();
    let hanging: Vec<_> =
        ["hangs1", "hangs2"].iter().map(|host| resolver.enter(host).expect("room")).collect();
    let held_back: Vec<_> = questions.iter().take(2).collect();
    drop(hanging);
    let again = smol::block_on(resolver.resolve("hangs1", 1, Instant::now()));
    assert_eq!(again.expect_err("hangs").failure, ResolveFailure::Timeout);
    thread::spawn(move || questions.iter().count());
    for host in ["other", "another", "other"] {
        assert!(smol::block_on(resolver.resolve(host, 1, soon())).is_ok());
    }
    drop(held_back);
}

#[test]
fn who_asks_for_the_same_name_shares_one_lookup() {
    let (resolver, questions) = held();
    let (first, second) = smol::block_on(async {
        future::zip(
            resolver.resolve("relay", 80, soon()),
            future::zip(resolver.resolve("relay", 443, soon()), async {
                let (_, release) = questions.recv().expect("one lookup");
                assert!(questions.try_recv().is_err(), "a second lookup");
                release.send(()).expect("lookup waits");
            }),
        )
        .await
    });
    assert_eq!(first.expect("found")[0].port(), 80);
    assert_eq!(second.0.expect("found")[0].port(), 443);
}

#[test]
fn a_dropped_lookup_is_forgotten() {
    let (resolver, questions) = held();
    let answers: Vec<_> = (0..MAX_LOOKUPS)
        .map(|number| resolver.enter(&format!("name{number}")).expect("room"))
        .collect();
    assert!(matches!(resolver.enter("one-more"), Err(ResolveFailure::TooMany)));
    let started: Vec<_> = questions.iter().take(LOOKUP_THREADS).collect();
    drop(answers);
    assert!(resolver.lock().queue.is_empty());
    assert_eq!(resolver.lock().entries.len(), LOOKUP_THREADS);
    drop(started);
    drop(resolver.enter("one-more").expect("room again"));
}

#[test]
fn threads_end_when_nothing_is_asked() {
    let (resolver, questions) = held();
    thread::spawn(move || questions.iter().count());
    smol::block_on(resolver.resolve("relay", 1, soon())).expect("found");
    let deadline = soon();
    while resolver.lock().threads > 0 {
        assert!(Instant::now() < deadline, "a thread stays for ever");
        thread::sleep(Duration::from_millis(5));
    }
    assert!(smol::block_on(resolver.resolve("relay", 1, soon())).is_ok());
}

#[test]
fn an_unknown_name_is_an_error_in_words() {
    // A label has 63 bytes at most (RFC 1035 section 2.3.4), so that no name
    // server is asked.
    let host = format!("{}.invalid", "a".repeat(64));
    let error = smol::block_on(resolve(&host, 1)).expect_err("invalid");
    assert!(error.to_string().starts_with(&format!("cannot look up {host}: ")), "{error}");
    assert!(matches!(error.failure, ResolveFailure::System(_)));
}
