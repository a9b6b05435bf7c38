//! A `tower` layer: it admits a request when its head is there, and ends it when its answer does, whichever way that is.
//!
//! Of the head it takes the method, the matched route and the user agent's family, and nothing else. Pool, key and model are the
//! application's to say, from what its own middleware left in the request's extensions. The handler finds [`CurrentRequest`] there, tells it
//! about attempts, and says how the request ends where it knows better than the HTTP status does:
//!
//! ```
//! use codex_pooler_exporter::tower::{CurrentRequest, Head, RequestLayer};
//! use codex_pooler_exporter::{Admission, ApiKey, Exporter, Pool, Rejection};
//! use codex_pooler_exporter::contract::Transport;
//!
//! /// What the application's authentication leaves in the extensions.
//! #[derive(Clone)]
//! struct Caller {
//!     pool: Pool,
//!     api_key: ApiKey,
//! }
//!
//! fn layer(exporter: Exporter) -> RequestLayer<impl Fn(Head, &http::Extensions) -> Option<Admission> + Clone> {
//!     RequestLayer::new(exporter, |head: Head, extensions: &http::Extensions| {
//!         // Nobody's request is not in the log.
//!         let Caller { pool, api_key } = extensions.get::<Caller>()?.clone();
//!         Some(head.admission(pool, api_key, Transport::HttpSse))
//!     })
//! }
//!
//! async fn handler(request: http::Request<String>) -> http::Response<String> {
//!     if let Some(current) = request.extensions().get::<CurrentRequest>() {
//!         let _ = current.reject(Rejection::new("no_eligible_backend", 503));
//!     }
//!     http::Response::builder().status(503).body(String::new()).unwrap_or_default()
//! }
//! ```
//!
//! A websocket that carries one request after another is no request itself: let `admit` return `None` for it, and its handler admit each
//! with [`Exporter::admit`].
//!
//! How a request ends, first match wins:
//!
//! | what happened | recorded as |
//! |---|---|
//! | the handler panicked, or its service failed without an answer | failed, `interrupted` |
//! | the handler said how it ends ([`CurrentRequest::end`], [`CurrentRequest::reject`]) | that; the HTTP status is the answer's, unless the handler gave one |
//! | the answer was dropped before its end, or never came: the client went away | failed, `client_disconnected` |
//! | the answer's body failed | failed, `upstream_stream_error` |
//! | status 101, or 2xx to `CONNECT`: the connection is a websocket now | when the last [`CurrentRequest`] is dropped, as it said, else failed, `interrupted` |
//! | the whole answer was handed to the server, status below 400 | succeeded |
//! | the same, status 4xx, or 503, before any attempt | rejected |
//! | the same, any other status | failed |

mod body;
mod current;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use contract::{Method, Route, Transport};
use http::{Extensions, header};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use uuid::Uuid;

use crate::exporter::Exporter;
use crate::lifecycle::{Admission, ApiKey, Client, Pool};

pub use body::LoggedBody;
use current::Closer;
pub use current::CurrentRequest;

/// All that is taken from a request's head. The fields can be changed before an admission is made of them.
#[derive(Clone, Debug)]
pub struct Head {
    /// Method; what the contract does not know is [`Method::Other`].
    pub method: Method,
    /// Route: the one that axum matched, else the path if it is one of the contract's; everything else is [`Route::Other`].
    pub route: Route,
    /// Family and version of the client's program, if it sent a user agent.
    pub client: Option<Client>,
}

impl Head {
    fn of<B>(request: &http::Request<B>) -> Self {
        let user_agent = request.headers().get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Self {
            method: Method::parse(request.method().as_str()).unwrap_or(Method::Other),
            route: Route::parse(path(request)).unwrap_or(Route::Other),
            client: user_agent.map(Client::from_user_agent),
        }
    }

    /// An admission with a new row id, and without a model.
    #[must_use]
    pub fn admission(self, pool: Pool, api_key: ApiKey, transport: Transport) -> Admission {
        let Self { method, route, client } = self;
        Admission { client, ..Admission::new(Uuid::new_v4(), pool, api_key, method, route, transport) }
    }
}

#[cfg(feature = "axum")]
fn path<B>(request: &http::Request<B>) -> &str {
    request.extensions().get::<axum::extract::MatchedPath>().map_or(request.uri().path(), |matched| matched.as_str())
}

#[cfg(not(feature = "axum"))]
fn path<B>(request: &http::Request<B>) -> &str {
    request.uri().path()
}

/// Puts [`RequestService`] around a service.
#[derive(Clone, Debug)]
pub struct RequestLayer<F> {
    exporter: Exporter,
    admit: F,
}

impl<F> RequestLayer<F>
where
    F: Fn(Head, &Extensions) -> Option<Admission> + Clone,
{
    /// `admit` makes an admission of a head and of what the application's middleware left in the extensions, or returns `None` for a
    /// request that is not for the log: its handler finds no [`CurrentRequest`], and must not insist on one. It runs on the request's path:
    /// it must not block.
    #[must_use]
    pub const fn new(exporter: Exporter, admit: F) -> Self {
        Self { exporter, admit }
    }
}

impl<S, F: Clone> Layer<S> for RequestLayer<F> {
    type Service = RequestService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RequestService { inner, layer: self.clone() }
    }
}

/// A service whose requests are in the log.
#[derive(Clone, Debug)]
pub struct RequestService<S, F> {
    inner: S,
    layer: RequestLayer<F>,
}

impl<S, F, A, B> Service<http::Request<A>> for RequestService<S, F>
where
    S: Service<http::Request<A>, Response = http::Response<B>>,
    F: Fn(Head, &Extensions) -> Option<Admission>,
    B: http_body::Body,
{
    type Response = http::Response<LoggedBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<A>) -> Self::Future {
        let admission = (self.layer.admit)(Head::of(&request), request.extensions());
        let mut closer = admission.map(|admission| {
            let current = CurrentRequest::new(self.layer.exporter.admit(admission));
            request.extensions_mut().insert(current.clone());
            Closer::new(current, request.method().clone())
        });
        let answer = Closer::run(&mut closer, || self.inner.call(request));
        ResponseFuture { answer, closer }
    }
}

pin_project! {
    /// The answer to a request that is in the log. Dropping it is what a server does when the client goes away.
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        // Dropped first, so that what the handler says in its destructors still counts.
        #[pin]
        answer: F,
        closer: Option<Closer>,
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    B: http_body::Body,
{
    type Output = Result<http::Response<LoggedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(Closer::run(this.closer, || this.answer.poll(context)));
        let closer = this.closer.take();
        Poll::Ready(match answer {
            Ok(response) => Ok(LoggedBody::around(response, closer)),
            Err(error) => {
                if let Some(closer) = closer {
                    closer.interrupted();
                }
                Err(error)
            }
        })
    }
}
