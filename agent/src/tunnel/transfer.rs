//! Moves the bytes of one stream between its socket and the tunnel, each way
//! in a loop of its own, with pauses where either side takes nothing.

use std::future::Future;
use std::io;
use std::time::Duration;

use async_io::Timer;
use smol::future;

use super::{Notify, Progress, Tunnel};
use crate::wire::HALF_CLOSED_LIMIT;

/// Time that a socket gets to say more at once, when the other end of the
/// tunnel has to bear many small frames already; below what a person notices.
const GATHERING_TIME: Duration = Duration::from_millis(30);
/// Bytes that a stream may send before the others have their turn.
const TURN_BYTES: usize = 64 * 1024;

/// The way from a socket into the tunnel.
pub(crate) trait Outflow {
    /// Whether more bytes are wanted; else the loop ends.
    fn is_wanted(&self) -> bool;
    /// Reads what is there; 0 is the end.
    ///
    /// # Errors
    /// `WouldBlock` when nothing is there yet, else the socket is lost.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;
    /// Notes that so many bytes went.
    fn moved(&self, bytes: usize);
    /// Rung when there may be room in the tunnel, or `is_wanted` has changed.
    fn bell(&self) -> &Notify;
    /// Waits until the socket has something to say.
    fn readable(&self) -> impl Future<Output = io::Result<()>>;
}

/// Moves bytes into the tunnel until the socket is at its end (true) or no
/// more are wanted (false).
///
/// # Errors
/// The socket broke.
pub(crate) async fn move_out(
    tunnel: &Tunnel,
    stream: u32,
    source: &impl Outflow,
) -> io::Result<bool> {
    let mut turn = 0;
    while source.is_wanted() {
        tunnel.wait_for_room().await;
        match tunnel.forward(stream, |buffer| source.read(buffer)) {
            Progress::Moved(bytes) => {
                source.moved(bytes);
                turn += bytes;
                if turn >= TURN_BYTES {
                    turn = 0;
                    tunnel.pass_room_on();
                    future::yield_now().await;
                }
            }
            Progress::TunnelIsFull => {}
            Progress::WindowIsFull => {
                tunnel.pass_room_on();
                source.bell().wait().await;
            }
            Progress::SocketIsIdle => {
                turn = 0;
                tunnel.pass_room_on();
                if tunnel.is_strained() {
                    Timer::after(GATHERING_TIME).await;
                }
                let woken = async {
                    source.bell().wait().await;
                    Ok(())
                };
                future::or(source.readable(), woken).await?;
            }
            Progress::End => {
                tunnel.pass_room_on();
                return Ok(true);
            }
            Progress::Failed(error) => {
                tunnel.pass_room_on();
                return Err(error);
            }
        }
    }
    tunnel.pass_room_on();
    Ok(false)
}

/// The way from the tunnel to a socket.
pub(crate) trait Inflow {
    /// Gives the socket what waits for it, and the end.
    fn supply(&self, tunnel: &Tunnel) -> Supply;
    /// Rung when there is something for the socket.
    fn bell(&self) -> &Notify;
    /// Whether the other end has closed both directions.
    fn is_left(&self) -> bool;
    /// Waits until the socket takes bytes.
    fn writable(&self) -> impl Future<Output = io::Result<()>>;
}

/// What came of giving a socket what waits for it.
pub(crate) enum Supply {
    /// There is more to give.
    More,
    /// It takes no more now.
    SocketIsBusy,
    /// It has taken everything so far.
    NothingLeft,
    /// Nothing more will come, or be taken.
    Done,
}

/// Moves bytes to the socket until nothing more will come or be taken. False
/// when the socket took nothing for as long as a half-closed stream may be
/// idle, although the other end has left.
pub(crate) async fn move_in(tunnel: &Tunnel, sink: &impl Inflow) -> bool {
    loop {
        match sink.supply(tunnel) {
            Supply::More => {}
            Supply::SocketIsBusy => {
                // A failure shows at the next try.
                let writable = async {
                    let _ = sink.writable().await;
                    true
                };
                if !future::or(writable, patience(sink)).await {
                    return false;
                }
            }
            Supply::NothingLeft => sink.bell().wait().await,
            Supply::Done => return true,
        }
    }
}

/// How long a socket may take nothing: as long as the other end is there, then
/// as long as a half-closed stream may. True when that has changed.
async fn patience(sink: &impl Inflow) -> bool {
    if sink.is_left() {
        Timer::after(HALF_CLOSED_LIMIT).await;
        return false;
    }
    sink.bell().wait().await;
    true
}
