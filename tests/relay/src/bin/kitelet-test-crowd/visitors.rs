//! Visitors who check that they got to the kite that they asked for.

use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use kitelet::net::{Connection, Connector};
use smol::{LocalExecutor, channel, future};

use crate::peer::{self, Protocol, Target};
use crate::{Errors, Outcome, end_of_input, say, service};

/// Patience of a visitor for an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer; a relay's page is shorter.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Port that raw kites are asked for by.
const RAW_PORT: u16 = 22;

/// `count` visitors at once, who stay until the end of standard input.
pub(crate) async fn stay(
    executor: &'static LocalExecutor<'static>,
    target: Target,
    count: usize,
    kites: usize,
) -> Outcome {
    let target = Rc::new(target);
    let errors = Errors::default();
    let (arrived, arrivals) = channel::unbounded();
    let mut connectors = Vec::with_capacity(count);
    for visitor in 0..count {
        connectors.push(target.connector(&peer::domain(visitor % kites))?);
    }
    let began = Instant::now();
    for (visitor, connector) in connectors.into_iter().enumerate() {
        let (target, arrived, errors) = (Rc::clone(&target), arrived.clone(), errors.clone());
        let name = peer::domain(visitor % kites);
        executor
            .spawn(async move {
                let start = Instant::now();
                let stays = match in_time(visit(&target, &connector, &name)).await {
                    Ok(connection) => Some((start.elapsed(), name, connection)),
                    Err(error) => {
                        errors.note(&name, &*error);
                        None
                    }
                };
                let _ = arrived.send(stays).await;
            })
            .detach();
    }
    let (mut times, mut held) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        if let Some((time, name, connection)) = arrivals.recv().await? {
            times.push(time);
            held.push((name, connection));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    say(&format!("holding seconds={seconds:.3} errors={} {}", errors.count(), told(&mut times)));
    end_of_input().await;
    for (name, connection) in held {
        if let Err(error) = in_time(ask(&connection, &name)).await {
            errors.note(&name, &*error);
        }
    }
    say(&format!("done errors={}", errors.count()));
    Ok(())
}

/// One visitor after the other, each with a connection of its own.
pub(crate) async fn probe(target: Target, count: usize, kites: usize) -> Outcome {
    let errors = Errors::default();
    let mut times = Vec::with_capacity(count);
    for visitor in 0..count {
        let name = peer::domain(visitor % kites);
        let connector = target.connector(&name)?;
        let start = Instant::now();
        match in_time(visit(&target, &connector, &name)).await {
            Ok(_) => times.push(start.elapsed()),
            Err(error) => errors.note(&name, &*error),
        }
    }
    say(&format!("done errors={} {}", errors.count(), told(&mut times)));
    Ok(())
}

/// The median and the 99th percentile, in milliseconds.
fn told(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| {
        let time = times.get(times.len() * percent / 100).copied().unwrap_or_default();
        time.as_secs_f64() * 1000.0
    };
    format!("p50={:.3} p99={:.3}", at(50), at(99))
}

/// Connects to a kite and gets its answer.
async fn visit(target: &Target, connector: &Connector, name: &str) -> Outcome<Connection> {
    let connection = target.open(connector).await?;
    if target.protocol == Protocol::Raw {
        let way = format!("CONNECT {name}:{RAW_PORT} HTTP/1.1\r\n\r\n");
        connection.write_all(way.as_bytes()).await?;
        expect(&connection, "\r\n\r\n").await?;
    }
    ask(&connection, name).await?;
    Ok(connection)
}

/// A request on a connection that leads to a kite, and its answer.
async fn ask(connection: &Connection, name: &str) -> Outcome {
    let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    expect(connection, &format!("\r\n\r\n{}", service::body(name))).await
}

/// Reads a good answer that ends like this.
async fn expect(connection: &Connection, end: &str) -> Outcome {
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    while !answer.ends_with(end.as_bytes()) {
        let length = connection.read_some(&mut buffer).await?;
        answer.extend_from_slice(&buffer[..length]);
        if length == 0 || answer.len() > MAX_ANSWER_BYTES {
            let start = &answer[..answer.len().min(60)];
            return Err(format!("it answers {:?}", String::from_utf8_lossy(start)).into());
        }
    }
    let status = answer.get(8..13);
    if status != Some(b" 200 ") {
        return Err(format!("its status is {:?}", String::from_utf8_lossy(&answer[..13])).into());
    }
    Ok(())
}

async fn in_time<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let timeout = async {
        Timer::after(PATIENCE).await;
        Err("no answer in time".into())
    };
    future::or(work, timeout).await
}
