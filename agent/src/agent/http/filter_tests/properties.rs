//! What holds for every stream of bytes, however it is cut.

use proptest::prelude::*;

use super::{every_kind, insecure, run, whole};
use crate::agent::http::firewall;
use crate::config::KiteFlags;

/// Streams that have much of what the filter reacts to.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        prop::sample::select(
            &[
                "GET /a HTTP/1.1\r\n",
                "POST / HTTP/1.1\r\n",
                "GET /admin HTTP/1.0\n",
                "PRI * HTTP/2.0\r\n",
                "CONNECT a:1 HTTP/1.1\r\n",
                "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
                "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcd",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
                "Authorization: Basic YW5uOm9uZQ==\r\n",
                "Authorization: Basic x\r\n",
                "Host: a\r\n",
                "X-Forwarded-For: x\r\n",
                "Content-Length: 5\r\n",
                "Content-Length: 2\r\n",
                "Transfer-Encoding: chunked\r\n",
                "Upgrade: x\r\n",
                "\r\n",
                "\r\n",
                "\n",
                "\r",
                "5\r\nabcde\r\n",
                "0\r\n\r\n",
                "3;x\r\n",
                " ",
                ":",
            ][..]
        )
        .prop_map(|text: &str| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
        prop::sample::select(&[100, 4000, 16_000][..]).prop_map(|count| vec![b'a'; count]),
    ];
    prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn cuts_change_nothing(
        input in stream(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        kind in 0..every_kind().len(),
    ) {
        let flags = every_kind()[kind].clone();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.push(input.len());
        cuts.sort_unstable();
        let mut start = 0;
        let pieces = cuts.iter().map(|cut| &input[std::mem::replace(&mut start, *cut)..*cut]);
        let expected = whole(flags.clone(), &input);
        prop_assert_eq!(run(flags.clone(), pieces), expected.clone());
        prop_assert_eq!(run(flags, input.chunks(1)), expected);
    }

    #[test]
    fn without_guards_and_rewriting_nothing_changes(input in stream()) {
        let flags = KiteFlags { raw_headers: true, ..insecure() };
        prop_assert_eq!(whole(flags, &input), (input, None));
    }

    #[test]
    fn without_guards_nothing_is_lost(input in stream()) {
        let (out, refused) = whole(insecure(), &input);
        prop_assert_eq!(refused, None);
        let is_mark = |byte: &&u8| **byte == b'a';
        let count = |bytes: &[u8]| bytes.iter().filter(is_mark).count();
        prop_assert!(out.len() >= input.len() && count(&out) >= count(&input));
    }

    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        for flags in every_kind() {
            whole(flags, &input);
        }
        firewall::broken_rule(b"GET", &input);
    }
}
