//! What `Changes` tells of a machine, in a network namespace of its own: the
//! test starts itself again under `unshare -n`, which takes root, as CI has it.

#![cfg(target_os = "linux")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use async_io::Timer;
use kitelet::system::changes::{Change, Changes};

/// Tells the second start that it is one.
const INSIDE: &str = "KITELET_TEST_NAMESPACE";
/// Longest wait for a change that has to come.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long noise is listened to; what it would cause comes within 100 ms.
const QUIET: Duration = Duration::from_millis(700);

/// Runs the test `name` of this file in a new namespace, and says whether this
/// is the run within.
fn is_inside(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let program = std::env::current_exe().expect("a program");
    let status = Command::new("unshare")
        .args(["-n", "--"])
        .arg(program)
        .args(["--exact", name, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .expect("install unshare (util-linux)");
    assert!(status.success(), "failed inside; run this as root, a namespace takes it");
    false
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().expect("install iproute2");
    assert!(status.success(), "ip {words}");
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kitelet-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

async fn next(changes: &mut Changes) -> Option<Change> {
    let patience = async {
        Timer::after(PATIENCE).await;
        None
    };
    smol::future::or(async { Some(changes.next().await) }, patience).await
}

/// Waits until nothing more comes, and says how many came.
async fn settle(changes: &mut Changes) -> usize {
    let mut count = 0;
    loop {
        let quiet = async {
            Timer::after(QUIET).await;
            None
        };
        match smol::future::or(async { Some(changes.next().await) }, quiet).await {
            Some(_) => count += 1,
            None => return count,
        }
    }
}

#[test]
fn links_addresses_and_routes_are_told_and_noise_is_not() {
    if !is_inside("links_addresses_and_routes_are_told_and_noise_is_not") {
        return;
    }
    ip("link set lo up");
    ip("link add one type veth peer name two");
    ip("link set two up");
    async_io::block_on(async {
        let mut changes = Changes::watch_with(folder("quiet").join("resolv.conf"));
        settle(&mut changes).await;
        for words in [
            "link set one up",
            "address add 192.0.2.1/24 dev one",
            "address add 192.0.2.2/24 dev one",
            "route add default via 192.0.2.9",
            "route replace default via 192.0.2.8",
            "route del default",
            "address del 192.0.2.2/24 dev one",
            "address add 2001:db8::1/64 dev one nodad",
            "link set two down",
            "link set two up",
            "link set one down",
        ] {
            ip(words);
            assert_eq!(next(&mut changes).await, Some(Change::Network), "{words}");
            settle(&mut changes).await;
        }
        ip("link set one up");
        ip("address add 2001:db8::2/64 dev one nodad valid_lft 900 preferred_lft 900");
        // Duplicate address detection of the link-local addresses takes two seconds.
        while settle(&mut changes).await > 0 {}
        Timer::after(Duration::from_secs(3)).await;
        settle(&mut changes).await;
        for words in [
            "neighbour add 192.0.2.7 lladdr 02:00:00:00:00:07 dev one",
            "neighbour del 192.0.2.7 dev one",
            "address change 2001:db8::2/64 dev one nodad valid_lft 1800 preferred_lft 1800",
            "link add three type veth peer name four",
            "link del three",
            "link set one promisc on",
            "link set one alias noise",
        ] {
            ip(words);
            assert_eq!(settle(&mut changes).await, 0, "{words}");
        }
    });
}

#[test]
fn a_storm_is_told_in_few_changes_and_its_end_is_seen() {
    if !is_inside("a_storm_is_told_in_few_changes_and_its_end_is_seen") {
        return;
    }
    ip("link add one type veth peer name two");
    ip("link set two up");
    async_io::block_on(async {
        let mut changes = Changes::watch_with(folder("storm").join("resolv.conf"));
        settle(&mut changes).await;
        // More messages than the socket holds.
        let batch = folder("storm-batch").join("batch");
        let lines: String = (0..2000)
            .map(|_| "link set one up\naddress add 192.0.2.1/24 dev one\nlink set one down\naddress del 192.0.2.1/24 dev one\n")
            .collect();
        std::fs::write(&batch, lines).expect("it is ours");
        ip(&format!("-batch {}", batch.display()));
        assert_eq!(next(&mut changes).await, Some(Change::Network));
        settle(&mut changes).await;
        ip("link set one up");
        assert_eq!(next(&mut changes).await, Some(Change::Network));
    });
}

#[test]
fn other_name_servers_are_told() {
    let folder = folder("resolv");
    let file = folder.join("resolv.conf");
    async_io::block_on(async {
        // The machine's own network may change meanwhile.
        async fn resolver(changes: &mut Changes) -> Option<Change> {
            loop {
                match next(changes).await {
                    Some(Change::Resolver) => return Some(Change::Resolver),
                    Some(_) => {}
                    None => return None,
                }
            }
        }
        let mut changes = Changes::watch_with(file.clone());
        std::fs::write(&file, "nameserver 192.0.2.1\n").expect("it is ours");
        assert_eq!(resolver(&mut changes).await, Some(Change::Resolver));
        let new = folder.join("new");
        std::fs::write(&new, "nameserver 192.0.2.2\n").expect("it is ours");
        std::fs::rename(&new, &file).expect("it is ours");
        assert_eq!(resolver(&mut changes).await, Some(Change::Resolver));
    });
    std::fs::remove_dir_all(folder).expect("it is ours");
}
