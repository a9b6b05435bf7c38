//! The request that a handler is working on, and the one who ends it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fmt, mem};

use http::{Method, StatusCode};
use uuid::Uuid;

use crate::end::{End, EndStatus, Rejection};
use crate::lifecycle::{Attempt, INTERRUPTED, Settlement};
use crate::request::{Admitted, AttemptHandle, Finished, Request};

/// Status that the log shows for a client that went away before there was an answer. It is never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The request that a handler is working on. [`super::RequestLayer`] puts it into the request's extensions; clones are the same request.
#[derive(Clone)]
pub struct CurrentRequest(Arc<Shared>);

/// Says which request, and not what the application said about it.
impl fmt::Debug for CurrentRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentRequest").field("id", &self.0.id).finish_non_exhaustive()
    }
}

struct Shared {
    id: Uuid,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    /// What the handler said.
    said: Option<Said>,
    http_status: Option<u16>,
}

/// How a request ends.
enum Said {
    End(End),
    /// Only of a request that has no attempt.
    Rejected(Rejection),
}

enum Phase {
    Admitted(Admitted),
    Dispatched(Request),
    Finished(Finished),
    /// Nothing can be said of it any more.
    Gone,
}

impl CurrentRequest {
    pub(super) fn new(admitted: Admitted) -> Self {
        let id = admitted.id();
        let state = State { phase: Phase::Admitted(admitted), said: None, http_status: None };
        Self(Arc::new(Shared { id, state: Mutex::new(state) }))
    }

    /// Row id; nil if the exporter is disabled.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// An attempt that starts now. `None` if the request has ended, so that nobody waits for its answer, or was [rejected](Self::reject).
    #[must_use = "an attempt that is dropped stays open until its request ends"]
    pub fn attempt(&self, attempt: Attempt) -> Option<AttemptHandle> {
        let mut state = self.0.lock();
        if matches!(state.said, Some(Said::Rejected(_))) {
            return None;
        }
        state.phase = match mem::replace(&mut state.phase, Phase::Gone) {
            Phase::Admitted(admitted) => Phase::Dispatched(admitted.dispatch()),
            phase => phase,
        };
        match &state.phase {
            Phase::Dispatched(request) => Some(request.attempt(attempt)),
            _ => None,
        }
    }

    /// Says what the ledger says, also after the end: the row waits for it while a clone of this is kept, for
    /// [`contract::limits::SETTLEMENT_HOLD`] at most. When the last clone is dropped, what is not settled is recorded as unknown. Without an
    /// attempt there is nothing to settle.
    pub fn settle(&self, settlement: Settlement) {
        match &mut self.0.lock().phase {
            Phase::Dispatched(request) => request.settle(settlement),
            Phase::Finished(finished) => finished.settle(settlement),
            Phase::Admitted(_) | Phase::Gone => {}
        }
    }

    /// Says how the request ends, once the handler knows: the last word before the end of the answer counts. It ends then, and not now.
    /// Only a panic is stronger than what was said.
    pub fn end(&self, end: End) {
        self.0.lock().said = Some(Said::End(end));
    }

    /// Says that the request is refused before any upstream work, as [`Self::end`] does. From here on there are no attempts, and a request that
    /// has one is not rejected any more: then this changes nothing and returns `false`.
    #[must_use = "a request that has an attempt is not rejected"]
    pub fn reject(&self, rejection: Rejection) -> bool {
        let mut state = self.0.lock();
        let admitted = matches!(state.phase, Phase::Admitted(_));
        if admitted {
            state.said = Some(Said::Rejected(rejection));
        }
        admitted
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the request, unless it has ended: as its handler said, else as `otherwise` says.
    fn close(&mut self, otherwise: impl FnOnce() -> End) {
        let said = self.said.take();
        let with_status = |end: End| End { http_status: end.http_status.or(self.http_status), ..end };
        self.phase = match (mem::replace(&mut self.phase, Phase::Gone), said) {
            (Phase::Admitted(admitted), Some(Said::Rejected(rejection))) => {
                admitted.reject(rejection);
                Phase::Gone
            }
            (Phase::Admitted(admitted), said) => {
                admitted.complete(with_status(ended(said, otherwise)));
                Phase::Gone
            }
            (Phase::Dispatched(request), said) => Phase::Finished(request.finish(with_status(ended(said, otherwise)))),
            (closed, _) => closed,
        };
    }

    /// Ends the request, unless it has ended, as interrupted, whatever its handler said.
    fn interrupt(&mut self) {
        self.said = None;
        self.close(|| End::failed(INTERRUPTED));
    }
}

/// What was said, else `otherwise`. A rejection is not said of a request that has an attempt.
fn ended(said: Option<Said>, otherwise: impl FnOnce() -> End) -> End {
    match said {
        Some(Said::End(end)) => end,
        _ => otherwise(),
    }
}

impl Drop for State {
    /// The last one who had it is gone. A request that is still open is a websocket's: its handler said how it ends, or was interrupted.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.interrupt();
        }
        self.close(|| End::failed(INTERRUPTED));
    }
}

/// What follows the head of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// A body, whose end has to be waited for.
    Body,
    /// Nothing, whatever length the head says.
    Nothing,
    /// Whatever both sides make of the connection.
    Websocket,
}

/// Ends a request, once. Dropping it means that the client went away.
#[derive(Debug)]
pub(super) struct Closer {
    current: CurrentRequest,
    span: tracing::Span,
    /// What was asked: it decides what follows the head of the answer.
    method: Method,
    /// A part of the application runs. If it still does when this is dropped, it panicked.
    running: bool,
    /// Somebody else ends the request.
    handed_over: bool,
}

impl Closer {
    pub(super) fn new(current: CurrentRequest, method: Method) -> Self {
        #[cfg(feature = "tracing-layer")]
        let span = match &current.0.lock().phase {
            Phase::Admitted(admitted) => admitted.span(),
            _ => tracing::Span::none(),
        };
        #[cfg(not(feature = "tracing-layer"))]
        let span = tracing::Span::none();
        Self { current, span, method, running: false, handed_over: false }
    }

    /// Runs a part of the application, inside the request's span.
    pub(super) fn run<T>(closer: &mut Option<Self>, part: impl FnOnce() -> T) -> T {
        let Some(closer) = closer else { return part() };
        closer.running = true;
        let result = closer.span.in_scope(part);
        closer.running = false;
        result
    }

    /// The answer's head is on its way.
    pub(super) fn answered(&self, status: StatusCode) -> Follows {
        self.current.0.lock().http_status = Some(status.as_u16());
        match status {
            StatusCode::SWITCHING_PROTOCOLS => Follows::Websocket,
            // Over HTTP/2, a websocket is asked for so, and granted with 200.
            status if self.method == Method::CONNECT && status.is_success() => Follows::Websocket,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Follows::Nothing,
            _ if self.method == Method::HEAD => Follows::Nothing,
            _ => Follows::Body,
        }
    }

    /// The whole answer was handed to the server.
    pub(super) fn completed(self) {
        let mut state = self.current.0.lock();
        let http_status = state.http_status.unwrap_or_default();
        if matches!(http_status, 400..500 | 503) && state.said.is_none() && matches!(state.phase, Phase::Admitted(_)) {
            state.said = Some(Said::Rejected(Rejection { error_code: None, http_status, denials: Vec::new() }));
        }
        state.close(|| End::new(if http_status < 400 { EndStatus::Succeeded } else { EndStatus::Failed }));
    }

    /// The answer broke off on our side.
    pub(super) fn body_failed(self) {
        self.current.0.lock().close(End::truncated);
    }

    /// There is no answer, and that was not the client's doing.
    pub(super) fn interrupted(self) {
        self.current.0.lock().interrupt();
    }

    /// The connection is a websocket now. The request ends when its handler lets go of it; see `State::drop`.
    pub(super) fn upgraded(mut self) {
        self.handed_over = true;
    }
}

impl Drop for Closer {
    /// After an end, this changes nothing.
    fn drop(&mut self) {
        if self.handed_over {
            return;
        }
        let mut state = self.current.0.lock();
        if self.running {
            return state.interrupt();
        }
        state.http_status = state.http_status.or(Some(CLIENT_CLOSED_REQUEST));
        state.close(End::client_disconnected);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exporter::Exporter;
    use crate::testing;

    /// Guarantees: a handle that is printed, as in other people's logs, says which request it is, and nothing of what was said about it.
    #[test]
    fn a_handle_prints_no_ones_words() {
        let current = CurrentRequest::new(Exporter::disabled().admit(testing::admission()));
        assert!(current.reject(Rejection::new("planted", 403)));
        assert!(!format!("{current:?}").contains("planted"));
        current.end(End::failed("planted"));
        let closer = Closer::new(current.clone(), Method::GET);
        assert!(!format!("{closer:?}").contains("planted"));
        assert!(format!("{current:?}").contains(&current.id().to_string()));
    }
}
