//! A visitor who speaks HTTP: one request after the other, each brought to the
//! kite that it names and followed until it is answered.

use std::borrow::Cow;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use async_io::Timer;
use log::debug;
use smol::future;

use super::access_log::Entry;
use super::acme;
use super::answer;
use super::caller::{Caller, From};
use super::exchange::Request;
use super::guest::FULL;
use super::head::{HEAD_TIME, NoHead, read_head};
use super::page::{Absence, NotServed, Visit, wants_html};
use super::permit::Permit;
use super::request::{BadRequest, Status, VisitorRequest};
use super::route::{Found, Wish};
use super::shared::Relay;
use super::stream::{Outcome, VisitStream};
use super::tunnels::AgentTunnel;
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
    if !caller.guest.is_taken_as_visitor() {
        return answer::answer(&visitor, FULL).await;
    }
    let from = &caller.from;
    let mut visit = HttpVisit { relay, visitor: &visitor, from, open: None, is_cut: false };
    let mut head = head;
    while visit.request(head).await && says_more(relay, &visitor).await {
        head = match read_head(&visitor, HEAD_TIME).await {
            Ok(head) => head,
            Err(why) => {
                if let Some(reason) = reason(&why) {
                    visit.page(reason, "", why.beginning()).await;
                }
                break;
            }
        };
    }
    visit.close_stream();
    if !visit.is_cut {
        answer::close(&visitor).await;
    }
}

/// Whether the visitor says more before it has been idle for too long. Who
/// merely keeps a connection does not hold up a stop of the relay.
async fn says_more(relay: &Relay, visitor: &Connection) -> bool {
    let more = async { visitor.readable().await.is_ok() };
    let idle = async {
        Timer::after(IDLE_TIME).await;
        false
    };
    let stop = async {
        relay.stops().await;
        false
    };
    future::or(more, future::or(stop, idle)).await
}

/// What to answer to bytes that are no request; `None` where nobody waits for
/// an answer.
pub(super) fn reason(why: &NoHead) -> Option<NotServed> {
    match why {
        NoHead::Nothing | NoHead::Gone | NoHead::Late => None,
        NoHead::NoRequest => Some(NotServed::BadRequest { problem: "it is no HTTP/1 request" }),
        NoHead::TooLong(_) => Some(NotServed::HeadTooLarge),
    }
}

/// The value of a header in a head that need not be well formed.
pub(crate) fn header<'h>(head: &'h [u8], name: &str) -> Option<&'h [u8]> {
    head.split(|&byte| byte == b'\n').skip(1).find_map(|line| {
        let colon = line.iter().position(|&byte| byte == b':')?;
        let (found, value) = (&line[..colon], &line[colon + 1..]);
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

/// A visitor and the stream that the last request went on.
struct HttpVisit<'a> {
    relay: &'a Rc<Relay>,
    visitor: &'a Rc<Connection>,
    from: &'a From,
    open: Option<Open>,
    /// The connection is to end with a reset, so that nobody takes a part of an
    /// answer for all of it.
    is_cut: bool,
}

/// A stream to a kite.
struct Open {
    tunnel: Rc<AgentTunnel>,
    kite: KiteId,
    /// The name that the agent was told. A wildcard kite has many, and each of
    /// them may lead to another service.
    host: String,
    stream: Rc<VisitStream>,
    /// Counts the stream against the kite's quota as long as it is open.
    permit: Permit,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passed {
    /// It is answered, and the next may come.
    Next,
    /// The visitor's connection is to be closed.
    Done,
    /// It has to be sent once more, on a stream of its own.
    Again,
    /// Nobody answers it.
    Absent(Absence),
}

/// What of a request is needed once it is on its way.
struct Asked<'h> {
    request: VisitorRequest,
    head: &'h [u8],
    began: Instant,
}

impl HttpVisit<'_> {
    /// Serves one request; false when the connection is to be closed.
    async fn request(&mut self, head: Vec<u8>) -> bool {
        let tls_name = self.from.tls_name.as_deref();
        let request = match VisitorRequest::read(&head, tls_name) {
            Ok(request) => request,
            Err(bad) => {
                self.page(not_served(bad), "", &head).await;
                return false;
            }
        };
        let asked = Asked { request, head: &head, began: Instant::now() };
        let named = asked.request.host.as_deref().or(self.from.named.as_deref());
        let Some(host) = named.map(str::to_owned) else {
            let problem = "it names no host";
            self.page(NotServed::BadRequest { problem }, "", &head).await;
            return false;
        };
        if let Some(answer) = acme::answer(self.relay, &asked.request) {
            // What follows as a body must not be taken for a request.
            let has_body = Body::new(asked.request.framing).is_some();
            let is_written = answer::write(self.visitor, &answer).await.is_ok();
            self.log(&asked, &host, 200, (0, answer.len() as u64));
            return is_written && !asked.request.closes && !has_body;
        }
        let protocol = if asked.request.is_websocket { "websocket" } else { "http" };
        let wish = Wish { protocol, port: self.from.port, host: &host, from: self.from };
        loop {
            let passed = match self.relay.find(&wish) {
                Ok(found) => self.exchange(&asked, &wish, found).await,
                Err(absence) => Passed::Absent(absence),
            };
            if passed == Passed::Next {
                return true;
            }
            self.close_stream();
            match passed {
                Passed::Again => continue,
                Passed::Absent(absence) => self.absent(&asked, &host, absence).await,
                Passed::Next | Passed::Done => {}
            }
            return false;
        }
    }

    /// Sends the request to its kite and waits for the answer.
    async fn exchange(&mut self, asked: &Asked<'_>, wish: &Wish<'_>, found: Found) -> Passed {
        let request = Request {
            body: Body::new(asked.request.framing),
            answer: ResponseFollower::new(asked.request.method.as_bytes()),
            may_switch: asked.request.may_switch,
        };
        let may_come_again = request.body.is_none()
            && matches!(asked.request.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        let head = asked.request.forwarded_head(asked.head);
        let goes_on = self.open.as_ref().is_some_and(|open| {
            open.kite == found.kite
                && open.host == wish.host
                && Rc::ptr_eq(&open.tunnel, &found.tunnel)
                && open.stream.may_go_on()
        });
        if goes_on {
            if let Some(open) = &self.open {
                open.stream.begin(head.into_owned(), request);
            }
        } else {
            self.close_stream();
            if let Err(absence) = self.open(wish, found, head, request).await {
                return Passed::Absent(absence);
            }
        }
        let Some(open) = &mut self.open else { return Passed::Done };
        let Open { tunnel, stream, permit, .. } = open;
        let outcome = {
            let run = pin!(stream.run(&tunnel.tunnel));
            permit.watch(run, || stream.bytes()).await
        };
        let (_, may_go_on) = permit.count(stream.bytes());
        let status = stream.status().unwrap_or(0);
        let bytes = stream.new_bytes();
        let (status, passed) = match outcome {
            Some(Outcome::Next) if !asked.request.closes && may_go_on => (status, Passed::Next),
            Some(Outcome::Next | Outcome::Close) => (status, Passed::Done),
            // The service has closed an idle connection just now. What may be
            // sent twice is; for the rest the visitor knows what to do when the
            // connection ends without an answer (RFC 9112 section 9.3.1).
            Some(Outcome::Unanswered) if goes_on && may_come_again => return Passed::Again,
            Some(Outcome::Unanswered) if goes_on => (0, Passed::Done),
            Some(Outcome::Unanswered) => return Passed::Absent(Absence::Away),
            Some(Outcome::BadBody(problem)) => {
                let reason = NotServed::BadRequest { problem };
                self.page(reason, wish.host, asked.head).await;
                (reason.status().0, Passed::Done)
            }
            Some(Outcome::Cut(fate)) => {
                debug!("visitor {} of {}: {fate:?}", self.from.peer, wish.host);
                self.cut();
                (status, Passed::Done)
            }
            None => {
                self.cut();
                (status, Passed::Done)
            }
        };
        self.log(asked, wish.host, status, bytes);
        passed
    }

    async fn open(
        &mut self,
        wish: &Wish<'_>,
        found: Found,
        head: Cow<'_, [u8]>,
        request: Request,
    ) -> Result<(), Absence> {
        let permit = self.relay.permit(&found, self.from)?;
        let Found { tunnel, kite } = found;
        let stream = tunnel
            .open(wish, &kite, self.visitor, head.into_owned(), Some(request))
            .await
            .ok_or(Absence::Away)?;
        self.open = Some(Open { tunnel, kite, host: wish.host.to_owned(), stream, permit });
        Ok(())
    }

    fn cut(&mut self) {
        self.is_cut = true;
        self.visitor.reset();
    }

    fn close_stream(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.permit.count(open.stream.bytes());
            open.stream.close(&open.tunnel.tunnel);
        }
    }

    async fn absent(&self, asked: &Asked<'_>, host: &str, absence: Absence) {
        let reason = NotServed::Unavailable(absence);
        self.log(asked, host, reason.status().0, (0, 0));
        self.page(reason, host, asked.head).await;
    }

    /// Answers in place of a kite.
    async fn page(&self, reason: NotServed, host: &str, head: &[u8]) {
        let accept = header(head, "Accept");
        let visit = Visit { host, protocol: "http", relay: Some(self.from.local) };
        let pages = &self.relay.active().pages;
        let is_head = head.starts_with(b"HEAD ");
        let answer = pages.response(reason, &visit, wants_html(accept), is_head);
        answer::answer(self.visitor, &answer).await;
    }

    fn log(&self, asked: &Asked<'_>, host: &str, status: u16, (sent, received): (u64, u64)) {
        let agent =
            header(asked.head, "User-Agent").and_then(|text| std::str::from_utf8(text).ok());
        self.relay.access_log.note(&Entry {
            from: self.from,
            host,
            protocol: if asked.request.is_websocket { "websocket" } else { "http" },
            request: Some(&asked.request),
            agent,
            status,
            seconds: asked.began.elapsed().as_secs_f64(),
            sent,
            received,
        });
    }
}

fn not_served(bad: BadRequest) -> NotServed {
    let BadRequest { status, problem } = bad;
    match status {
        Status::BadRequest => NotServed::BadRequest { problem },
        Status::Misdirected => NotServed::Misdirected,
        Status::HeadTooLarge => NotServed::HeadTooLarge,
        Status::NotImplemented => NotServed::NotImplemented { problem },
    }
}
