//! Agents with a kite each, without any service behind them.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use kitelet::net::Connection;
use kitelet::wire::{
    Answer, Eof, Event, HEADER_ROOM, HeadReader, KiteId, MAX_ANSWER_BYTES, Registration, Role,
    Secret, Session, SessionSettings, Step,
};
use smol::{LocalExecutor, future};

use crate::peer::{self, Target};
use crate::service::Service;
use crate::{Errors, Outcome, end_of_input, say};

/// Pause before a lost or refused tunnel is opened again.
const RETRY: Duration = Duration::from_millis(250);
/// One read, for all tunnels together.
const READ_BYTES: usize = 64 * 1024;
/// Control frames of one turn.
const CONTROL_BYTES: usize = 64 * 1024;

/// What all agents share.
struct Crowd {
    target: Target,
    count: usize,
    buffer: RefCell<Vec<u8>>,
    flying: Cell<usize>,
    /// Streams that visitors opened, and tunnels that ended.
    streams: Cell<usize>,
    lost: Cell<usize>,
    /// What no relay may do.
    errors: Errors,
    random: Cell<u64>,
    began: Instant,
}

/// Flies `count` kites until the end of standard input.
pub(crate) async fn fly(
    executor: &'static LocalExecutor<'static>,
    target: Target,
    count: usize,
) -> Outcome {
    let began = Instant::now();
    let seed = u64::from(std::process::id()) << 32 | 1;
    let crowd = Rc::new(Crowd {
        target,
        count,
        buffer: RefCell::new(vec![0; READ_BYTES]),
        flying: Cell::new(0),
        streams: Cell::new(0),
        lost: Cell::new(0),
        errors: Errors::default(),
        random: Cell::new(seed),
        began,
    });
    for kite in 0..count {
        let crowd = Rc::clone(&crowd);
        executor.spawn(async move { crowd.keep_flying(kite).await }).detach();
    }
    end_of_input().await;
    let Crowd { flying, streams, lost, errors, .. } = &*crowd;
    say(&format!(
        "done flying={} streams={} lost={} errors={}",
        flying.get(),
        streams.get(),
        lost.get(),
        errors.count()
    ));
    Ok(())
}

/// An agent with its kite in the air.
struct Tunnel {
    connection: Connection,
    session: Session,
    registration: Registration,
    name: String,
    services: BTreeMap<u32, Service>,
    output: Vec<u8>,
}

impl Crowd {
    async fn keep_flying(&self, kite: usize) {
        loop {
            // Where there is no relay (yet) is no error of a relay.
            if let Ok((mut tunnel, rest)) = self.connect(kite).await {
                if tunnel.is_flying() {
                    self.note_flying();
                }
                let end = self.run(&mut tunnel, &rest).await;
                if tunnel.is_flying() {
                    self.flying.set(self.flying.get() - 1);
                    self.lost.set(self.lost.get() + 1);
                }
                if let Err(error) = end {
                    self.errors.note(&tunnel.name, &*error);
                }
            }
            Timer::after(RETRY).await;
        }
    }

    fn note_flying(&self) {
        self.flying.set(self.flying.get() + 1);
        if self.flying.get() == self.count {
            say(&format!("flying seconds={:.3}", self.began.elapsed().as_secs_f64()));
        }
    }

    /// The handshake up to the first answer; then the bytes behind it.
    async fn connect(&self, kite: usize) -> Outcome<(Tunnel, Vec<u8>)> {
        let name = peer::domain(kite);
        let connection = self.target.open(&self.target.agents_connector()?).await?;
        let id: KiteId = format!("{}:{name}", self.target.protocol.name())
            .parse()
            .map_err(|_| "no name of a kite")?;
        let mut random = |bytes: &mut [u8]| self.fill_random(bytes);
        let mut registration =
            Registration::new([(id, Secret::new(peer::secret(kite)))], false, &mut random);
        connection.write_all(&registration.request(None, &mut random)).await?;
        let (answer, rest) = first_answer(&connection).await?;
        let mut session = Session::new(SessionSettings {
            role: Role::Agent,
            max_streams: 1024,
            max_header_bytes: MAX_ANSWER_BYTES,
            compress: false,
            guard_bursts: false,
        });
        match registration.apply(&answer) {
            Step::AnswerHere => {
                session.send_payload(registration.answer_payload(&mut random));
            }
            Step::Fly => {}
            step => {
                let error = format!("{step:?} at once");
                self.errors.note(&name, &*Box::<dyn std::error::Error>::from(error));
                return Err("refused".into());
            }
        }
        let (services, output) = (BTreeMap::new(), Vec::new());
        Ok((Tunnel { connection, session, registration, name, services, output }, rest))
    }

    /// Serves visitors until the relay is gone, which is no error.
    async fn run(&self, tunnel: &mut Tunnel, rest: &[u8]) -> Outcome {
        self.receive(tunnel, rest)?;
        loop {
            tunnel.session.control_frames(Instant::now(), &mut tunnel.output, CONTROL_BYTES);
            if tunnel.connection.write_all(&tunnel.output).await.is_err() {
                return Ok(());
            }
            tunnel.output.clear();
            let read = {
                let mut buffer = self.buffer.borrow_mut();
                let read = tunnel.connection.try_read(&mut buffer);
                if let Ok(length @ 1..) = read {
                    self.receive(tunnel, &buffer[..length])?;
                }
                read
            };
            match read {
                Ok(1..) => future::yield_now().await,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if tunnel.connection.readable().await.is_err() {
                        return Ok(());
                    }
                }
                _ => return Ok(()),
            }
        }
    }

    fn receive(&self, tunnel: &mut Tunnel, mut input: &[u8]) -> Outcome {
        let Tunnel { session, services, output, name, registration, .. } = tunnel;
        let now = Instant::now();
        while let Some(event) = session.receive(now, &mut input)? {
            match event {
                Event::Open { stream, .. } => {
                    self.streams.set(self.streams.get() + 1);
                    services.insert(stream, Service::default());
                }
                Event::Data { stream, bytes } => {
                    let Some(service) = services.get_mut(&stream) else { continue };
                    let (answers, length) = (service.take(bytes, Some(name))?, bytes.len());
                    session.delivered(stream, length);
                    if !answers.is_empty() {
                        let mut frame = vec![0; HEADER_ROOM + answers.len()];
                        frame[HEADER_ROOM..].copy_from_slice(&answers);
                        let body = HEADER_ROOM..frame.len();
                        output.extend_from_slice(session.data_frame(now, stream, &mut frame, body));
                    }
                }
                Event::Eof { stream, .. } => {
                    services.remove(&stream);
                    session.close(now, stream, Eof::BOTH);
                }
                Event::Answer(answer) => match registration.apply(&answer) {
                    Step::Fly => self.note_flying(),
                    step => return Err(format!("{step:?} after the challenge").into()),
                },
                Event::TooManyStreams { .. } => return Err("streams without end".into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Random enough for salts: xorshift.
    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            let mut state = self.random.get();
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            self.random.set(state);
            *byte = (state >> 32) as u8;
        }
    }
}

impl Tunnel {
    fn is_flying(&self) -> bool {
        let mut states = self.registration.kites().map(|(_, state)| state);
        states.all(|state| *state == kitelet::wire::KiteState::Flying)
    }
}

async fn first_answer(connection: &Connection) -> Outcome<(Answer, Vec<u8>)> {
    let mut head = HeadReader::new(MAX_ANSWER_BYTES);
    let mut buffer = vec![0; 4096];
    loop {
        let length = connection.read_some(&mut buffer).await?;
        if length == 0 {
            return Err("closed in the handshake".into());
        }
        let mut input = &buffer[..length];
        if let Some(head) = head.read(&mut input)? {
            return Ok((Answer::parse(head)?, input.to_vec()));
        }
    }
}
