//! What is remembered, what is not, and how often it is written.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const RELAY: &str = "relay.example.com:443";

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("kitelet-state-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn addresses(last: u8) -> [IpAddr; 2] {
    [[192, 0, 2, last].into(), "2001:db8::1".parse().expect("an address")]
}

#[test]
fn all_is_there_after_a_restart() {
    let (state, runtime) = (folder("state"), folder("runtime"));
    let open = || State::open(Some(state.clone()), Some(runtime.clone()));
    let mut before = open();
    before.remember_addresses(RELAY, &addresses(1), Instant::now());
    before.remember_time(1_800_000_000, Instant::now());
    before.remember_session(RELAY, Some("s3ss10n"));
    let after = open();
    assert_eq!(after.addresses(RELAY), addresses(1));
    assert_eq!(after.last_good_time(), Some(1_800_000_000));
    assert_eq!(after.session(RELAY), Some("s3ss10n"));
    let token = std::fs::metadata(runtime.join("sessions")).expect("it is there");
    assert_eq!(token.permissions().mode() & 0o777, 0o600);
    let lasting = std::fs::read_to_string(state.join("remembered")).expect("it is there");
    assert!(!lasting.contains("s3ss10n"));
    assert!(!format!("{after:?}").contains("s3ss10n"));
    let mut after = after;
    after.remember_session(RELAY, None);
    assert_eq!(open().session(RELAY), None);
    for folder in [state, runtime] {
        std::fs::remove_dir_all(folder).expect("it is ours");
    }
}

#[test]
fn flash_is_written_seldom() {
    let folder = folder("seldom");
    let file = folder.join("remembered");
    let written = || std::fs::read_to_string(&file).unwrap_or_default();
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let mut state = State::open(Some(folder.clone()), None);
    state.remember_addresses(RELAY, &addresses(1), start);
    assert!(written().contains("192.0.2.1"));
    state.remember_addresses(RELAY, &addresses(2), start + hour / 2);
    assert!(written().contains("192.0.2.1"), "not within the hour");
    state.save(start + hour);
    assert!(written().contains("192.0.2.2"));
    std::fs::remove_file(&file).expect("it is there");
    state.remember_addresses(RELAY, &addresses(2), start + 9 * hour);
    assert_eq!(written(), "", "nothing is new");
    state.remember_time(1_800_000_000, start);
    assert!(written().contains("time 1800000000"));
    state.remember_time(1_800_086_399, start + 24 * hour);
    assert!(written().contains("time 1800000000"), "not within the day");
    state.remember_time(1_800_086_400, start + 25 * hour);
    assert!(written().contains("time 1800086400"));
    state.remember_addresses(RELAY, &addresses(3), start + 25 * hour);
    state.save_at_end();
    assert!(written().contains("192.0.2.3"));
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn garbage_is_skipped() {
    let text = "time soon\nrelay\nrelay a:1 nowhere\nrelay b:1\n\u{1}\u{2}\nrelay c:1 192.0.2.1\n\
                relay c:1 192.0.2.2\nmore later\ntime 7\ntime\n";
    let facts = Facts::decode(text);
    assert_eq!(facts.time, Some(7));
    assert_eq!(facts.relays, [("c:1".to_owned(), vec![[192, 0, 2, 1].into()])]);
    assert_eq!(Sessions::decode("session a b c\nsession a\nsession a b\n").0.len(), 1);

    let folder = folder("garbage");
    for garbage in [vec![0xff; 100], vec![b'a'; MAX_FILE_BYTES + 1], Vec::new()] {
        std::fs::write(folder.join("remembered"), garbage).expect("it is ours");
        let state = State::open(Some(folder.clone()), None);
        assert_eq!(state.facts, Facts::default());
    }
    std::fs::remove_dir_all(folder).expect("it is ours");
}

#[test]
fn what_is_kept_and_written_is_bounded() {
    let mut state = State::open(None, None);
    let many = vec![IpAddr::from([0x2001_u16, 0xdb8, 1, 2, 3, 4, 5, 6]); 100];
    for number in 0..200 {
        let relay = format!("{number}.{}:443", "a".repeat(240));
        state.remember_addresses(&relay, &many, Instant::now());
        state.remember_session(&relay, Some(&"i".repeat(200)));
    }
    assert_eq!(state.facts.relays.len(), MAX_RELAYS);
    assert!(state.facts.relays.iter().all(|(_, all)| all.len() == MAX_ADDRESSES));
    let text = state.facts.encode();
    assert!(text.len() <= MAX_FILE_BYTES && text.contains("relay 199."));
    assert!(state.sessions.encode().len() <= MAX_FILE_BYTES);
    state.remember_session("a:1", Some("two words"));
    assert_eq!(state.session("a:1"), None);
}

#[test]
fn a_directory_that_is_not_there_stops_nothing() {
    let nowhere = Some(PathBuf::from("/proc/no/such"));
    let mut state = State::open(nowhere.clone(), nowhere);
    state.remember_addresses(RELAY, &addresses(1), Instant::now());
    state.remember_session(RELAY, Some("id"));
    assert_eq!(state.addresses(RELAY), addresses(1));
    assert_eq!(state.session(RELAY), Some("id"));
}
