//! The life of one request, as plain data: what a pooler knows when it admits a request, about each attempt, at the settlement and at the end.
//!
//! There is no place here for prompts, outputs, headers, addresses or keys. Texts are checked against the contract when spans are made of
//! them, so that a label which is an e-mail address, say, does not get out.

use std::time::SystemTime;

use contract::{
    ClientFamily, EffortSource, Method, PricingStatus, ReasoningEffort, Route, RouteClass, ServiceTier, ServingMode, Transport,
    client,
};
use opentelemetry::trace::SpanContext;
use uuid::Uuid;

pub use crate::end::{AttemptEnd, Denial, End, EndStatus, Ended, INCOMPLETE_ERRORS, MASKED_CODES};

/// Error code of a request or attempt that was dropped before anyone said how it ended.
pub const INTERRUPTED: &str = "interrupted";

/// One request, from its admission to as far as it has got.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    /// What was known at admission.
    pub admission: Admission,
    /// When it was admitted.
    pub admitted_at: SystemTime,
    /// The account that the row shows, where that is not the last attempt's.
    pub account: Option<Account>,
    /// Every try, in the order of their numbers.
    pub attempts: Vec<Attempt>,
    /// What the ledger says.
    pub settlement: Settlement,
    /// How it ended; absent while it is open.
    pub end: Option<Ended>,
}

impl Lifecycle {
    /// A request that was just admitted.
    #[must_use]
    pub fn new(admission: Admission, admitted_at: SystemTime) -> Self {
        Self { admission, admitted_at, account: None, attempts: Vec::new(), settlement: Settlement::Pending, end: None }
    }
}

/// What is known when a request is admitted.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Row id; a random UUID, because it becomes the trace id. Never nil.
    pub request_id: Uuid,
    /// Correlation id.
    pub correlation_id: Option<String>,
    /// Id that the client gave the request; only searched for, and only where it has the form of an id.
    pub client_request_id: Option<String>,
    /// Pool.
    pub pool: Pool,
    /// Who asked.
    pub api_key: ApiKey,
    /// HTTP method; on websockets the upgrade's, `GET`.
    pub method: Method,
    /// Route under which the request is accounted.
    pub route: Route,
    /// Route that the client called, where the pooler translated it.
    pub translated_from: Option<Route>,
    /// Transport between the client and the pooler.
    pub transport: Transport,
    /// Route family.
    pub route_class: RouteClass,
    /// Model that was asked for, or that the key's policy enforced; absent on requests without one.
    pub model: Option<String>,
    /// Reasoning effort that the client asked for.
    pub requested_effort: Option<ReasoningEffort>,
    /// Service tier that the client asked for.
    pub requested_tier: Option<ServiceTier>,
    /// Service tier at which the request is priced until the upstream names one.
    pub service_tier: Option<ServiceTier>,
    /// Whether something other than the tiers asked for fast mode.
    pub fast_mode: bool,
    /// Serving mode of the model.
    pub serving_mode: ServingMode,
    /// Client program.
    pub client: Option<Client>,
    /// W3C trace context that the client sent. It becomes a link and never the parent: clients are outside the trust boundary.
    pub client_context: Option<SpanContext>,
}

impl Admission {
    /// An admission with what every request has; the route class follows from route and transport, everything else is absent.
    #[must_use]
    pub fn new(request_id: Uuid, pool: Pool, api_key: ApiKey, method: Method, route: Route, transport: Transport) -> Self {
        Self {
            request_id,
            correlation_id: None,
            client_request_id: None,
            pool,
            api_key,
            method,
            route,
            translated_from: None,
            transport,
            route_class: route_class(route, transport),
            model: None,
            requested_effort: None,
            requested_tier: None,
            service_tier: None,
            fast_mode: false,
            serving_mode: ServingMode::None,
            client: None,
            client_context: None,
        }
    }
}

/// The route family that a route and a transport belong to.
#[must_use]
pub const fn route_class(route: Route, transport: Transport) -> RouteClass {
    match (route, transport) {
        (Route::BackendApiCodexResponsesCompact, _) => RouteClass::ProxyCompact,
        (_, Transport::Websocket) => RouteClass::ProxyWebsocket,
        (Route::BackendApiTranscribe, _) => RouteClass::AudioTranscription,
        (Route::BackendApiFiles | Route::BackendApiFilesUploaded | Route::V1Files, _) => RouteClass::FileUpload,
        (_, Transport::HttpSse) => RouteClass::ProxyStream,
        _ => RouteClass::ProxyHttp,
    }
}

/// A Pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Id.
    pub id: Uuid,
    /// Stable short name, for filters.
    pub slug: String,
    /// Name as shown.
    pub name: String,
}

/// Who asked.
#[derive(Clone, Debug)]
pub enum ApiKey {
    /// A caller with a token of its own instead of a key.
    ExternalToken,
    /// A key of the Pool.
    Key {
        /// Id.
        id: Uuid,
        /// Name that an operator gave it.
        label: Option<String>,
        /// Public prefix, `sk-cxp-` and 12 hex digits. Never more of the key.
        prefix: Option<String>,
    },
}

/// A client program: a closed family and a version, all that is kept of a user agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Family.
    pub family: ClientFamily,
    /// Version.
    pub version: Option<String>,
}

impl Client {
    /// Reads a `User-Agent` header.
    #[must_use]
    pub fn from_user_agent(header: &str) -> Self {
        Self { family: client::family(header), version: client::version(header).map(str::to_owned) }
    }
}

/// An upstream account, and its assignment to the Pool.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Id.
    pub id: Option<Uuid>,
    /// Name that an operator gave it; without one a short form of the id is shown.
    pub label: Option<String>,
    /// Plan as the upstream calls it.
    pub plan_label: Option<String>,
    /// Family of the plan, a slug.
    pub plan_family: Option<String>,
    /// Id of the assignment.
    pub assignment_id: Option<Uuid>,
}

/// One try on one upstream account.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Id. [`Uuid::nil`] stands for one that is derived from the row's id and the number.
    pub id: Uuid,
    /// Number, from 1.
    pub number: u32,
    /// Account that was tried.
    pub account: Account,
    /// Transport between the pooler and the upstream.
    pub transport: Transport,
    /// Model that was sent.
    pub model: Option<String>,
    /// Reasoning effort after the key's policy.
    pub applied_effort: Option<ReasoningEffort>,
    /// Reasoning effort that was sent upstream.
    pub effective_effort: Option<ReasoningEffort>,
    /// Who chose the effort.
    pub effort_source: Option<EffortSource>,
    /// Service tier that was sent.
    pub service_tier: Option<ServiceTier>,
    /// When it started.
    pub started_at: SystemTime,
    /// How it ended; absent while it is open.
    pub end: Option<AttemptEnd>,
}

impl Attempt {
    /// The first try, starting now, with a derived id. [`crate::Request::attempt`] numbers further ones.
    #[must_use]
    pub fn new(account: Account, transport: Transport) -> Self {
        Self {
            id: Uuid::nil(),
            number: 1,
            account,
            transport,
            model: None,
            applied_effort: None,
            effective_effort: None,
            effort_source: None,
            service_tier: None,
            started_at: SystemTime::now(),
            end: None,
        }
    }
}

/// Counts of tokens. An absent count is one that nobody reported, which is not zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Input, cached tokens included.
    pub input: Option<u64>,
    /// Input that was read from a cache.
    pub cache_read: Option<u64>,
    /// Input that was written to a cache.
    pub cache_write: Option<u64>,
    /// Output, reasoning included.
    pub output: Option<u64>,
    /// Output that was spent on reasoning.
    pub reasoning: Option<u64>,
    /// Total as the ledger has it, not recomputed.
    pub total: Option<u64>,
}

/// What the ledger says. Only known usage has tokens, and only a price has a cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Settlement {
    /// Not settled yet.
    Pending,
    /// Settled; the upstream did not report usage.
    Unknown,
    /// No usage can exist.
    NotApplicable,
    /// Settled with known usage.
    Known {
        /// Tokens.
        tokens: Tokens,
        /// Price.
        price: Price,
    },
}

/// Whether known usage has a price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Price {
    /// It has.
    Priced {
        /// Cost in US dollars, zero or more. Anything else counts as no price.
        usd: f64,
    },
    /// It has not, and why. [`PricingStatus::Priced`] is sent as [`PricingStatus::Other`] here, since there is no price.
    Unpriced(PricingStatus),
}
