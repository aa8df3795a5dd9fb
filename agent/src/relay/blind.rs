//! A visitor whose bytes are none of our business: TLS that ends at the kite,
//! SSH, VNC and whatever else. One stream for one connection.

use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use log::debug;

use super::access_log::Entry;
use super::answer;
use super::caller::Caller;
use super::route::Wish;
use super::shared::Relay;
use super::stream::Outcome;
use crate::net::TLS_ACCESS_DENIED;

/// Serves a visitor to the end; `first` is what was read of it.
pub(super) async fn serve(
    relay: &Rc<Relay>,
    caller: Caller,
    protocol: &str,
    host: &str,
    first: Vec<u8>,
) {
    let Caller { connection, from, guest } = caller;
    let visitor = Rc::new(connection);
    if !guest.is_taken_as_visitor() {
        if protocol == "https" {
            answer::answer(&visitor, &TLS_ACCESS_DENIED).await;
        }
        return;
    }
    let began = Instant::now();
    let wish = Wish { protocol, port: from.port, host, from: &from };
    let opened = match relay.find(&wish) {
        Ok(found) => match relay.permit(&found, &from) {
            Ok(permit) => {
                let stream = found.tunnel.open(&wish, &found.kite, &visitor, first, None).await;
                stream.map(|stream| (stream, found.tunnel, permit))
            }
            Err(_) => None,
        },
        Err(_) => None,
    };
    let Some((stream, tunnel, mut permit)) = opened else {
        if protocol == "https" {
            answer::answer(&visitor, &TLS_ACCESS_DENIED).await;
        }
        return;
    };
    let run = pin!(stream.run(&tunnel.tunnel));
    let outcome = permit.watch(run, || stream.bytes()).await;
    stream.close(&tunnel.tunnel);
    let (sent, received) = stream.bytes();
    relay.access_log.note(&Entry {
        from: &from,
        host,
        protocol,
        request: None,
        agent: None,
        status: 0,
        seconds: began.elapsed().as_secs_f64(),
        sent,
        received,
    });
    match outcome {
        Some(Outcome::Cut(fate)) => {
            debug!("visitor {} of {protocol}:{host}: {fate:?}", from.peer);
            visitor.reset();
        }
        Some(_) => answer::close(&visitor).await,
        None => visitor.reset(),
    }
}
