//! Reads the recorded tunnels of this folder and takes them apart.

use std::fs;
use std::path::{Path, PathBuf};

use kitelet::wire::{Decoder, HeadReader, Headers, MAX_ANSWER_BYTES, Piece, WireError};
use serde_json::Value;

/// One direction of a recorded tunnel.
pub(crate) struct Recording {
    /// Number of the scenario, number of the connection, direction.
    pub(crate) name: String,
    /// All that was sent.
    pub(crate) bytes: Vec<u8>,
    /// The head of the handshake, as described.
    pub(crate) head: String,
    /// The frames, as described.
    pub(crate) frames: Vec<Value>,
}

impl Recording {
    /// Whether the agent sent it, not the relay.
    pub(crate) fn is_of_agent(&self) -> bool {
        self.name.ends_with("be2fe")
    }
}

/// All recordings, sorted by name.
pub(crate) fn recordings() -> Vec<Recording> {
    let mut found = Vec::new();
    for scenario in fs::read_dir(folder()).expect("the recordings") {
        let scenario = scenario.expect("an entry").path();
        if !scenario.is_dir() {
            continue;
        }
        for file in fs::read_dir(&scenario).expect("a folder") {
            let file = file.expect("an entry").path();
            let text = file.to_str().expect("UTF-8");
            let Some(name) = text.strip_suffix(".chunks.jsonl") else { continue };
            let description = fs::read_to_string(&file).expect("text");
            let mut records = description
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).expect("the description is JSON"));
            let Some(first) = records.next() else { continue };
            let bytes = fs::read(format!("{name}.bin")).expect("the bytes");
            if bytes.is_empty() {
                continue;
            }
            let folder = scenario.file_name().expect("a name").to_str().expect("UTF-8");
            found.push(Recording {
                name: format!("{}/{}", &folder[..2], &name[name.rfind('/').expect("a path") + 1..]),
                bytes,
                head: first["http_head"].as_str().unwrap_or_default().to_owned(),
                frames: records.collect(),
            });
        }
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    assert!(found.len() > 200, "only {} recordings", found.len());
    found
}

/// What came out of some cut of a recording.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The head of the handshake.
    pub(crate) head: String,
    /// Headers as they stand, and body.
    pub(crate) frames: Vec<(Vec<u8>, Vec<u8>)>,
    /// What ended it early.
    pub(crate) error: Option<WireError>,
    /// Whether it ends at the end of a frame.
    pub(crate) is_complete: bool,
}

/// Takes a recording apart that comes in these parts.
pub(crate) fn decode<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut reader = HeadReader::new(MAX_ANSWER_BYTES);
    let mut decoder = Decoder::new(MAX_ANSWER_BYTES);
    let (mut head, mut frames) = (None, Vec::<(Vec<u8>, Vec<u8>)>::new());
    let outcome = |head: Option<String>, frames, error, is_complete| Outcome {
        head: head.unwrap_or_default(),
        frames,
        error,
        is_complete,
    };
    for mut part in parts {
        if head.is_none() {
            head = reader.read(&mut part).expect("a short head").map(latin);
            if head.is_none() {
                continue;
            }
        }
        loop {
            match decoder.next(&mut part) {
                Ok(Some(Piece::Headers(block) | Piece::LongHeaders(block))) => {
                    if let Err(error) = Headers::parse(block).and_then(|headers| {
                        if headers.has_meaning() {
                            Ok(())
                        } else {
                            Err(WireError::FrameWithoutMeaning)
                        }
                    }) {
                        return outcome(head, frames, Some(error), false);
                    }
                    frames.push((block.to_vec(), Vec::new()));
                }
                Ok(Some(Piece::Body(bytes))) => {
                    frames.last_mut().expect("headers first").1.extend_from_slice(bytes);
                }
                Ok(Some(Piece::End)) => {}
                Ok(None) => break,
                Err(error) => return outcome(head, frames, Some(error), false),
            }
        }
        assert!(part.is_empty());
    }
    let is_complete = decoder.is_between_frames();
    outcome(head, frames, None, is_complete)
}

/// Bytes as Latin-1, as the descriptions have them.
pub(crate) fn latin(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// This folder, or another one in the same form.
fn folder() -> PathBuf {
    std::env::var_os("KITELET_CAPTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures"), PathBuf::from)
}
