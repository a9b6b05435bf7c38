//! The pooler itself: who may ask for what, which account answers, and what the request log is told about it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{Extension, Request, State};
use axum::http::{Extensions, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, routing};
use codex_pooler_exporter::tower::{CurrentRequest, Head, RequestLayer};
use codex_pooler_exporter::{
    Account, Admission, ApiKey, Attempt, AttemptEnd, AttemptHandle, End, Exporter, Pool, Price, Rejection, Settlement, Terminal,
    Tokens,
};
use contract::Transport;
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use tracing::{Instrument as _, info_span};
use uuid::Uuid;

/// Spans of its own that it exports under their names. The collector keeps them if its policy, `policy.yaml`, names them too.
pub const SPAN_NAMES: [&str; 1] = ["connect"];
/// The only key there is.
const SECRET: &str = "Bearer demo";
/// What that key may ask for.
const ALLOWED_MODELS: [&str; 2] = ["gpt-5.4", "gpt-5.4-mini"];
/// Accounts in the order in which they are tried. The first one has no quota left for the small model.
const ACCOUNTS: [(&str, u128); 2] = [("Aurora seat 1", 1), ("Borealis seat 2", 2)];
const EXHAUSTED: (&str, &str) = ("Aurora seat 1", "gpt-5.4-mini");
/// Largest body that is read, in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// What an answer costs: dollars a token.
const USD_PER_TOKEN: f64 = 0.000_002;
/// Tokens that every question has.
const INPUT_TOKENS: u64 = 640;

/// How the fake upstream answers.
#[derive(Clone, Copy, Debug)]
pub struct Upstream {
    /// Words that an answer has, a token each.
    pub words: u64,
    /// Time before each word.
    pub pause: Duration,
}

/// The pooler's routes.
pub fn app(exporter: Exporter, upstream: Upstream) -> Router {
    Router::new()
        .route("/backend-api/codex/responses", routing::post(responses))
        .layer(RequestLayer::new(exporter, admission))
        // Around it, so that a request is admitted when its caller is known.
        .layer(from_fn(authenticate))
        .with_state(upstream)
}

/// A question, as far as a pooler has to understand it.
#[derive(Debug, Deserialize)]
struct Question {
    model: String,
    max_output_tokens: Option<u64>,
}

/// Who asks what.
#[derive(Clone, Debug)]
struct Caller {
    pool: Pool,
    api_key: ApiKey,
    question: Arc<Question>,
}

/// Finds out who asks what. Nobody's request, or one that is none, is not in the log.
async fn authenticate(mut request: Request, next: Next) -> Response {
    if request.headers().get(header::AUTHORIZATION).is_none_or(|secret| secret != SECRET) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let body = std::mem::take(request.body_mut());
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let Ok(question) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    request.extensions_mut().insert(Caller {
        pool: Pool { id: Uuid::from_u128(3), slug: "core".into(), name: "Core agents".into() },
        api_key: ApiKey::Key { id: Uuid::from_u128(4), label: Some("CI agents".into()), prefix: None },
        question: Arc::new(question),
    });
    next.run(request).await
}

/// What the request log is told at admission: who and what, and nothing of the question itself.
fn admission(head: Head, extensions: &Extensions) -> Option<Admission> {
    let Caller { pool, api_key, question } = extensions.get::<Caller>()?.clone();
    Some(Admission { model: Some(question.model.clone()), ..head.admission(pool, api_key, Transport::HttpSse) })
}

async fn responses(
    State(upstream): State<Upstream>,
    Extension(current): Extension<CurrentRequest>,
    Extension(caller): Extension<Caller>,
) -> Response {
    let question = caller.question;
    if !ALLOWED_MODELS.contains(&question.model.as_str()) {
        let _ = current.reject(Rejection::new("model_not_allowed", 403));
        return (StatusCode::FORBIDDEN, "this key may not use this model\n").into_response();
    }
    for (label, id) in ACCOUNTS {
        let account = Account { id: Some(Uuid::from_u128(id)), label: Some(label.into()), ..Account::default() };
        let attempt = Attempt { model: Some(question.model.clone()), ..Attempt::new(account, Transport::HttpSse) };
        let Some(attempt) = current.attempt(attempt) else { break };
        // The field stays here; the span is exported.
        let connecting = info_span!("connect", question = ?question);
        match upstream.ask(label, &question).instrument(connecting).await {
            Ok(answer) => return Sse::new(relay(answer, attempt, current)).into_response(),
            Err(status) => attempt
                .finish(AttemptEnd { http_status: Some(status.as_u16()), ..AttemptEnd::retryable("upstream_rate_limited") }),
        }
    }
    current.end(End::failed("upstream_rate_limited"));
    (StatusCode::SERVICE_UNAVAILABLE, "no account has quota left\n").into_response()
}

/// Passes an answer on, and tells the log how it ends. If the client goes away, the stream is dropped, and the log learns that as well.
fn relay(
    answer: impl Stream<Item = Said> + Send + 'static,
    attempt: AttemptHandle,
    current: CurrentRequest,
) -> impl Stream<Item = Result<Event, Infallible>> + Send {
    unfold((Box::pin(answer), Some(attempt), current), |(mut answer, mut attempt, current)| async move {
        let said = futures_util::StreamExt::next(&mut answer).await;
        let (terminal, tokens) = match said {
            Some(Said::Word(number)) => {
                attempt.as_mut()?.output();
                let event = Event::default().event("response.output_text.delta").data(format!("word {number}"));
                return Some((Ok(event), (answer, attempt, current)));
            }
            Some(Said::Completed { tokens }) => (Terminal::Completed, Some(tokens)),
            Some(Said::Incomplete { tokens, reason }) => {
                (Terminal::Incomplete { reason: Some(reason), error: None }, Some(tokens))
            }
            None => (Terminal::Truncated, None),
        };
        // Absent after the last event, which ends the stream.
        let attempt = attempt.take()?;
        attempt.finish(AttemptEnd { http_status: Some(200), usage: tokens, ..AttemptEnd::of(terminal) });
        current.settle(tokens.map_or(Settlement::Unknown, settlement));
        current.end(End::of(terminal));
        let name = match terminal {
            Terminal::Completed => "response.completed",
            Terminal::Incomplete { .. } => "response.incomplete",
            _ => "error",
        };
        Some((Ok(Event::default().event(name).data("{}")), (answer, None, current)))
    })
}

/// What the ledger would say.
fn settlement(tokens: Tokens) -> Settlement {
    #[allow(clippy::cast_precision_loss, reason = "an example's prices")]
    let usd = tokens.total.unwrap_or_default() as f64 * USD_PER_TOKEN;
    Settlement::Known { tokens, price: Price::Priced { usd } }
}

/// What the upstream says.
enum Said {
    Word(u64),
    Completed { tokens: Tokens },
    Incomplete { tokens: Tokens, reason: &'static str },
}

impl Upstream {
    /// Asks the upstream on an account. It refuses if the account has no quota left for the model.
    async fn ask(self, account: &str, question: &Question) -> Result<impl Stream<Item = Said> + Send + use<>, StatusCode> {
        tokio::time::sleep(self.pause).await;
        if (account, question.model.as_str()) == EXHAUSTED {
            return Err(StatusCode::TOO_MANY_REQUESTS);
        }
        let words = question.max_output_tokens.unwrap_or(self.words).min(self.words);
        Ok(unfold(0, move |said| async move {
            let tokens =
                Tokens { input: Some(INPUT_TOKENS), output: Some(words), total: Some(INPUT_TOKENS + words), ..Tokens::default() };
            tokio::time::sleep(self.pause).await;
            let event = match said {
                _ if said < words => Said::Word(said),
                _ if said > words => return None,
                _ if words < self.words => Said::Incomplete { tokens, reason: "max_output_tokens" },
                _ => Said::Completed { tokens },
            };
            Some((event, said + 1))
        }))
    }
}
