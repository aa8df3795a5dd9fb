//! A WebSocket over a stream that takes and gives as the test decides.

use std::cell::RefCell;

use proptest::prelude::*;

use super::*;

/// One direction of a stream: it takes so many bytes more, and gives at most
/// so many at once.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    room: usize,
    gulp: usize,
    is_over: bool,
}

/// Both directions, seen from one end.
struct Stream<'a> {
    incoming: &'a RefCell<Pipe>,
    outgoing: &'a RefCell<Pipe>,
}

impl Below for Stream<'_> {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.incoming.borrow_mut();
        if pipe.bytes.is_empty() {
            return if pipe.is_over { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let length = pipe.bytes.len().min(buffer.len()).min(pipe.gulp.max(1));
        buffer[..length].copy_from_slice(&pipe.bytes[..length]);
        pipe.bytes.drain(..length);
        Ok(length)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.outgoing.borrow_mut();
        let length = bytes.len().min(pipe.room);
        if length == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.room -= length;
        pipe.bytes.extend_from_slice(&bytes[..length]);
        Ok(length)
    }
}

fn pipe(room: usize) -> RefCell<Pipe> {
    RefCell::new(Pipe { room, gulp: usize::MAX, ..Pipe::default() })
}

fn with_bytes(bytes: &[u8]) -> RefCell<Pipe> {
    let pipe = pipe(0);
    pipe.borrow_mut().bytes = bytes.to_vec();
    pipe
}

const CLIENT: End = End::Client { random: |bytes| bytes.fill(0x5a) };

fn layer(end: End) -> Layer {
    Layer::new(end, Vec::new())
}

fn would_block<T: fmt::Debug>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

#[test]
fn bytes_behind_the_head_are_read_first_and_wake_the_reader() {
    let (incoming, outgoing) = (with_bytes(b"lo!"), pipe(100));
    let below = Stream { incoming: &incoming, outgoing: &outgoing };
    let mut layer = Layer::new(CLIENT, b"\x82\x06Hel".to_vec());
    assert!(layer.has_news());
    let mut buffer = [0; 4];
    assert_eq!(layer.try_read(&below, &mut buffer).expect("read"), 2);
    assert!(layer.has_news());
    assert_eq!(layer.try_read(&below, &mut buffer).expect("read"), 1);
    assert_eq!(buffer[0], b'l');
    assert!(!layer.has_news());
    assert_eq!(layer.try_read(&below, &mut buffer).expect("read"), 3);
    assert_eq!(&buffer[..3], b"lo!");
    assert!(would_block(layer.try_read(&below, &mut buffer)));
}

#[test]
fn a_stream_that_takes_nothing_stops_the_writer_after_one_frame() {
    let (incoming, outgoing) = (pipe(0), pipe(0));
    let below = Stream { incoming: &incoming, outgoing: &outgoing };
    let mut layer = layer(CLIENT);
    assert_eq!(layer.try_write(&below, &[]).expect("nothing"), 0);
    let taken = layer.try_write(&below, &[1; 100_000]).expect("a frame");
    assert_eq!(taken, MAX_FRAME_PAYLOAD);
    assert_eq!(layer.outgoing.len(), MAX_FRAME_BYTES);
    assert!(layer.has_unsent() && would_block(layer.flush(&below)));
    // Even with room for a part of that frame, nothing more is taken.
    outgoing.borrow_mut().room = 100;
    assert!(would_block(layer.try_write(&below, &[2; 10])));
    outgoing.borrow_mut().room = 1_000_000;
    assert_eq!(layer.try_write(&below, &[2; 10]).expect("room"), 10);
    assert!(!layer.has_unsent());
    assert_eq!(outgoing.borrow().bytes.len(), MAX_FRAME_BYTES + 16);
    assert!(layer.outgoing.capacity() <= KEPT_BYTES, "memory is given back");
}

#[test]
fn the_last_of_many_pings_is_answered_once_there_is_room() {
    let mut pings = Vec::new();
    for number in 0..100_u8 {
        append_frame(&mut pings, Opcode::Ping, None, &[number; 125]);
    }
    let (incoming, outgoing) = (with_bytes(&pings), pipe(0));
    let below = Stream { incoming: &incoming, outgoing: &outgoing };
    let mut layer = layer(CLIENT);
    layer.try_write(&below, b"half").expect("taken");
    let mut buffer = [0; 4096];
    while !incoming.borrow().bytes.is_empty() {
        assert!(would_block(layer.try_read(&below, &mut buffer)));
    }
    assert!(layer.has_unsent() && layer.outgoing.len() < 20);
    outgoing.borrow_mut().room = 1000;
    layer.flush(&below).expect("room");
    assert!(!layer.has_unsent());
    let mut answers = outgoing.borrow().bytes.clone();
    let mut decoder = Decoder::new(true);
    assert_eq!(decoder.next(&mut answers), Ok((10, Piece::Data(4))));
    assert_eq!(decoder.next(&mut answers[10..]), Ok((6 + 125, Piece::Pong)));
    assert!(answers[16..].iter().all(|byte| *byte == 99));
    assert_eq!(answers.len(), 10 + 6 + 125);
}

#[test]
fn endless_pings_leave_others_their_turn() {
    let mut pings = Vec::new();
    (0..1000).for_each(|_| append_frame(&mut pings, Opcode::Ping, None, &[0; 100]));
    let (incoming, outgoing) = (with_bytes(&pings), pipe(0));
    let below = Stream { incoming: &incoming, outgoing: &outgoing };
    assert!(would_block(layer(CLIENT).try_read(&below, &mut [0; 1000])));
    assert_eq!(incoming.borrow().bytes.len(), pings.len() - 1000 * READS_PER_TURN);
}

#[test]
fn a_close_is_answered_and_is_the_end() {
    let (incoming, outgoing) = (with_bytes(b"\x82\x03bye\x88\x02\x03\xe9"), pipe(100));
    let below = Stream { incoming: &incoming, outgoing: &outgoing };
    let mut layer = layer(CLIENT);
    let mut buffer = [0; 100];
    assert_eq!(layer.try_read(&below, &mut buffer).expect("data first"), 3);
    assert!(layer.has_news());
    assert_eq!(layer.try_read(&below, &mut buffer).expect("the end"), 0);
    let answer = outgoing.borrow().bytes.clone();
    assert_eq!(answer, b"\x88\x82\x5a\x5a\x5a\x5a\x59\xb3");
    let error = layer.try_write(&below, b"more").expect_err("closed");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert!(!layer.is_shut_down() && !layer.has_unsent());
}

#[test]
fn an_end_without_a_close_is_an_end() {
    let incoming = with_bytes(b"\x82\x05Hel");
    incoming.borrow_mut().is_over = true;
    let outgoing = pipe(100);
    let below = Stream { incoming: &incoming, outgoing: &outgoing };
    let mut layer = layer(CLIENT);
    let mut buffer = [0; 100];
    assert_eq!(layer.try_read(&below, &mut buffer).expect("data"), 3);
    assert_eq!(layer.try_read(&below, &mut buffer).expect("the end"), 0);
}

#[test]
fn after_a_shutdown_reading_goes_on_and_pings_are_not_answered() {
    let (incoming, outgoing) = (pipe(0), pipe(0));
    let below = Stream { incoming: &incoming, outgoing: &outgoing };
    let mut layer = layer(End::Server);
    layer.try_write(&below, b"last").expect("taken");
    layer.shut_down();
    assert!(would_block(layer.flush(&below)) && layer.has_unsent());
    outgoing.borrow_mut().room = 100;
    layer.flush(&below).expect("room");
    assert!(layer.is_shut_down() && !layer.has_unsent());
    for (opcode, payload) in [(Opcode::Ping, &b""[..]), (Opcode::Binary, b"ok")] {
        append_frame(&mut incoming.borrow_mut().bytes, opcode, Some([1; 4]), payload);
    }
    let mut buffer = [0; 100];
    assert_eq!(layer.try_read(&below, &mut buffer).expect("data"), 2);
    assert!(!layer.has_unsent());
    layer.flush(&below).expect("nothing to do");
    assert_eq!(outgoing.borrow().bytes, b"\x82\x04last\x88\x02\x03\xe8");
}

#[test]
fn a_fault_is_told_to_both_ends() {
    let (incoming, outgoing) = (with_bytes(b"\x82\x02ok\x81\x01x"), pipe(100));
    let below = Stream { incoming: &incoming, outgoing: &outgoing };
    let mut layer = layer(CLIENT);
    let mut buffer = [0; 100];
    assert_eq!(layer.try_read(&below, &mut buffer).expect("data first"), 2);
    for _ in 0..2 {
        let error = layer.try_read(&below, &mut buffer).expect_err("broken");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(error.to_string(), Fault::Text.to_string());
    }
    // Status 1003, masked.
    assert_eq!(outgoing.borrow().bytes, b"\x88\x82\x5a\x5a\x5a\x5a\x59\xb1");
}

proptest! {
    #[test]
    fn no_byte_is_lost_or_repeated_however_the_streams_stall(
        steps in prop::collection::vec((0..6_u8, 0..40_000_usize), 1..200),
        client_writes in any::<bool>(),
    ) {
        let (there, back) = (pipe(0), pipe(0));
        let writing = Stream { incoming: &back, outgoing: &there };
        let reading = Stream { incoming: &there, outgoing: &back };
        let (mut writer, mut reader) = match client_writes {
            true => (layer(CLIENT), layer(End::Server)),
            false => (layer(End::Server), layer(CLIENT)),
        };
        let sent: Vec<u8> = (0..400_000_u32).map(|index| (index * 7 / 3) as u8).collect();
        let (mut taken, mut received) = (0, Vec::new());
        let mut buffer = vec![0; 40_000];
        let mut step = |kind: u8, size: usize, taken: &mut usize, received: &mut Vec<u8>| {
            match kind {
                0 => there.borrow_mut().room += size,
                1 => back.borrow_mut().room += size / 100,
                2 => there.borrow_mut().gulp = size,
                3 => {
                    let end = (*taken + size).min(sent.len());
                    *taken += writer.try_write(&writing, &sent[*taken..end]).unwrap_or(0);
                    assert!(writer.outgoing.len() <= 2 * MAX_FRAME_BYTES);
                }
                4 => {
                    let size = size.max(1);
                    if let Ok(length) = reader.try_read(&reading, &mut buffer[..size]) {
                        received.extend_from_slice(&buffer[..length]);
                    }
                }
                _ => {
                    // The reader's end sends a ping now and then.
                    if reader.outgoing.is_empty() {
                        reader.append(Opcode::Ping, b"?");
                    }
                    let _ = reader.flush(&reading);
                    let _ = writer.try_read(&writing, &mut [0; 100]);
                    let _ = writer.flush(&writing);
                }
            }
        };
        for (kind, size) in steps {
            step(kind, size, &mut taken, &mut received);
        }
        for _ in 0..100 {
            for (kind, size) in [(0, 20_000), (1, 20_000), (2, 39_999), (3, 9_000), (4, 39_999), (5, 0)] {
                step(kind, size, &mut taken, &mut received);
            }
        }
        for _ in 0..200 {
            step(0, 40_000, &mut taken, &mut received);
            step(5, 0, &mut taken, &mut received);
            step(4, 39_999, &mut taken, &mut received);
        }
        prop_assert!(taken > 0);
        prop_assert!(received == sent[..taken], "{} of {taken} bytes", received.len());
    }
}
