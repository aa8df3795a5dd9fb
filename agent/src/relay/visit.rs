//! A visitor who speaks HTTP: one request after the other, each brought to the
//! kite that it names and followed until it is answered.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::{Duration, Instant};

use log::debug;

use super::answer;
use super::caller::{Caller, From};
use super::head::{NoHead, read_head};
use super::page::{Absence, NotServed, Visit, wants_html};
use super::quota::Permit;
use super::request::{BadRequest, VisitorRequest};
use super::route::{Found, Wish};
use super::shared::Relay;
use super::stream::{Outcome, VisitStream};
use super::tunnels::AgentTunnel;
use super::{access_log, acme};
use crate::http::body::Body;
use crate::http::response::ResponseFollower;
use crate::net::Connection;
use crate::wire::KiteId;

/// How long a connection is kept without a request. Browsers open some ahead
/// of need and keep them about as long.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Serves a visitor whose first request has this head.
pub(super) async fn serve(relay: &Rc<Relay>, caller: Caller, head: Vec<u8>) {
    let visitor = Rc::new(caller.connection);
    let mut visit = HttpVisit { relay, visitor: &visitor, from: &caller.from, open: None };
    let mut next = Ok(head);
    while let Ok(head) = next {
        if !visit.request(head).await {
            next = Err(NoHead::Nothing);
            break;
        }
        next = visit.next_head().await;
    }
    visit.close_stream();
    match next {
        Err(NoHead::Nothing | NoHead::Gone) | Ok(_) => {}
        Err(NoHead::Late) => {}
        Err(NoHead::NoRequest) => {
            visit.refuse(NotServed::BadRequest { problem: "it is no HTTP/1 request" }, None).await;
        }
        Err(NoHead::TooLong) => visit.refuse(NotServed::HeadTooLarge, None).await,
    }
    answer::close(&visitor).await;
}

/// A visitor and the stream that the last request went on.
struct HttpVisit<'a> {
    relay: &'a Rc<Relay>,
    visitor: &'a Rc<Connection>,
    from: &'a From,
    open: Option<Open>,
}

/// A stream to a kite.
struct Open {
    tunnel: Rc<AgentTunnel>,
    kite: KiteId,
    stream: Rc<VisitStream>,
    /// Counts the stream against the kite's quota as long as it is open.
    permit: Permit,
    /// Bytes that are accounted for.
    counted: (u64, u64),
}

/// What of a request is needed once it is on its way.
struct Asked<'h> {
    request: VisitorRequest,
    head: &'h [u8],
    began: Instant,
}

impl HttpVisit<'_> {
    async fn next_head(&mut self) -> Result<Vec<u8>, NoHead> {
        read_head(self.visitor, IDLE_TIME).await
    }

    /// Serves one request; false when the connection is to be closed.
    async fn request(&mut self, head: Vec<u8>) -> bool {
        let tls_name = self.from.tls_name.as_deref();
        let request = match VisitorRequest::read(&head, tls_name) {
            Ok(request) => request,
            Err(bad) => {
                self.refuse(not_served(bad), Some(&head)).await;
                return false;
            }
        };
        let asked = Asked { request, head: &head, began: Instant::now() };
        let named = asked.request.host.as_deref().or(self.from.named.as_deref());
        let Some(host) = named.map(str::to_owned) else {
            let problem = "it names no host";
            self.refuse(NotServed::BadRequest { problem }, Some(&head)).await;
            return false;
        };
        if let Some(answer) = acme::answer(self.relay, &asked.request) {
            let keeps = !asked.request.closes && answer::write(self.visitor, &answer).await.is_ok();
            self.log(&asked, &host, 200, (0, answer.len() as u64));
            return keeps;
        }
        let protocol = if asked.request.is_websocket { "websocket" } else { "http" };
        let wish = Wish { protocol, port: self.from.port, host: &host, from: self.from };
        match self.relay.find(&wish) {
            Ok(found) => self.exchange(asked, &wish, found).await,
            Err(absence) => {
                self.close_stream();
                self.absent(&asked, &host, absence).await;
                false
            }
        }
    }

    /// Sends the request to its kite and waits for the answer.
    async fn exchange(&mut self, asked: Asked<'_>, wish: &Wish<'_>, found: Found) -> bool {
        let answer = ResponseFollower::new(asked.request.method.as_bytes());
        let body = Body::new(asked.request.framing);
        let head = asked.request.forwarded_head(asked.head);
        let goes_on = self.open.as_ref().is_some_and(|open| {
            open.kite == found.kite
                && Rc::ptr_eq(&open.tunnel, &found.tunnel)
                && open.stream.may_go_on()
        });
        if goes_on {
            if let Some(open) = &self.open {
                open.stream.begin(head.into_owned(), body, answer);
            }
        } else {
            self.close_stream();
            if let Err(absence) = self.open(wish, found, head, body, answer).await {
                self.absent(&asked, wish.host, absence).await;
                return false;
            }
        }
        let Some(open) = &mut self.open else { return false };
        let outcome = open.stream.run(&open.tunnel.tunnel).await;
        let (status, bytes) = (open.stream.status(), open.count());
        match outcome {
            Outcome::Next if !asked.request.closes => {
                self.log(&asked, wish.host, status.unwrap_or(0), bytes);
                true
            }
            Outcome::Unanswered => {
                self.close_stream();
                self.absent(&asked, wish.host, Absence::Away).await;
                false
            }
            Outcome::Next | Outcome::Close => {
                self.log(&asked, wish.host, status.unwrap_or(0), bytes);
                false
            }
            Outcome::Cut(fate) => {
                self.log(&asked, wish.host, status.unwrap_or(0), bytes);
                debug!("visitor {}: {fate:?}", self.from.peer);
                self.close_stream();
                self.visitor.reset();
                false
            }
        }
    }

    async fn open(
        &mut self,
        wish: &Wish<'_>,
        found: Found,
        head: Cow<'_, [u8]>,
        body: Option<Body>,
        answer: ResponseFollower,
    ) -> Result<(), Absence> {
        let Found { tunnel, kite } = found;
        let permit = self.relay.permit(&kite, self.from)?;
        let stream = tunnel
            .open(wish, &kite, self.visitor, head.into_owned(), Some((body, answer)))
            .await
            .ok_or(Absence::Away)?;
        self.open = Some(Open { tunnel, kite, stream, permit, counted: (0, 0) });
        Ok(())
    }

    fn close_stream(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.count();
            open.stream.close(&open.tunnel.tunnel);
        }
    }

    async fn absent(&self, asked: &Asked<'_>, host: &str, absence: Absence) {
        let reason = NotServed::Unavailable(absence);
        self.log(asked, host, reason.status().0, (0, 0));
        self.page(reason, host, Some(asked.head)).await;
    }

    /// Answers a request that cannot be read.
    async fn refuse(&self, reason: NotServed, head: Option<&[u8]>) {
        self.page(reason, "", head).await;
    }

    async fn page(&self, reason: NotServed, host: &str, head: Option<&[u8]>) {
        let head = head.unwrap_or_default();
        let accept = access_log::header(head, b"Accept");
        let visit = Visit { host, protocol: "http", relay: Some(self.from.local) };
        let pages = &self.relay.active().pages;
        let is_head = head.starts_with(b"HEAD ");
        let answer = pages.response(reason, &visit, wants_html(accept), is_head);
        answer::answer(self.visitor, &answer).await;
    }

    fn log(&self, asked: &Asked<'_>, host: &str, status: u16, (sent, received): (u64, u64)) {
        self.relay.log_request(&access_log::Entry {
            from: self.from,
            host,
            request: &asked.request,
            head: asked.head,
            status,
            seconds: asked.began.elapsed().as_secs_f64(),
            sent,
            received,
        });
    }
}

impl Open {
    /// Counts what has gone both ways since the last time.
    fn count(&mut self) -> (u64, u64) {
        let (sent, received) = self.stream.bytes();
        let (sent_before, received_before) = std::mem::replace(&mut self.counted, (sent, received));
        let new = (sent - sent_before, received - received_before);
        self.permit.used(new.0 + new.1);
        new
    }
}

fn not_served(bad: BadRequest) -> NotServed {
    let BadRequest { status, problem } = bad;
    match status.code() {
        421 => NotServed::Misdirected,
        431 => NotServed::HeadTooLarge,
        501 => NotServed::NotImplemented { problem },
        _ => NotServed::BadRequest { problem },
    }
}
