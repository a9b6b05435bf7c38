//! From one line in `Cargo.toml` to a row in the request log.
//!
//! # 1. The dependency
//!
//! ```toml
//! [dependencies]
//! codex-pooler-exporter = { git = "https://github.com/codex-pooler-otel/codex-pooler-otel" }
//! ```
//!
//! The contract's closed sets, such as `Route` and `Transport`, and the ids' type come with it, as [`contract`] and
//! [`uuid`].
//!
//! The features `tracing-layer`, `tower` and `axum` are for applications that use those; the lifecycle needs none of them
//! (`default-features = false`).
//!
//! # 2. One exporter for the program
//!
//! It has two threads of its own, needs no async runtime, and connects when there is something to send. Everything can be said by the
//! standard variables instead ([`Builder`](crate::Builder) lists them).
//!
//! ```no_run
//! use codex_pooler_exporter::Exporter;
//!
//! let exporter = Exporter::builder().endpoint("http://127.0.0.1:4317").service_version("0.6.8").build()?;
//! # Ok::<(), codex_pooler_exporter::BuildError>(())
//! ```
//!
//! # 3. A request is admitted
//!
//! The row is in the log from here on, as in progress. The next marker shows the account: it goes out a second later, or as soon after that as
//! there is an attempt, and then one goes out every 15 s. A request that is over within a second sends its first marker only.
//!
//! ```
//! # use codex_pooler_exporter::Exporter;
//! use codex_pooler_exporter::{Admission, ApiKey, Client, Pool, Rejection};
//! use codex_pooler_exporter::contract::{Method, Route, Transport};
//! use codex_pooler_exporter::uuid::Uuid;
//!
//! # let exporter = Exporter::disabled();
//! # let user_agent = "codex_exec/0.142.0 (Ubuntu 24.04; x86_64)";
//! # let allowed = true;
//! let pool = Pool { id: Uuid::new_v4(), slug: "core".into(), name: "Core agents".into() };
//! let key = ApiKey::Key { id: Uuid::new_v4(), label: Some("CI agents".into()), prefix: Some("sk-cxp-1b158839f8aa".into()) };
//! let request = exporter.admit(Admission {
//!     model: Some("gpt-5.4".into()),
//!     client: Some(Client::from_user_agent(user_agent)),
//!     ..Admission::new(Uuid::new_v4(), pool, key, Method::Post, Route::BackendApiCodexResponses, Transport::HttpSse)
//! });
//! if !allowed {
//!     // The handle is gone then: a rejected request has no attempts.
//!     request.reject(Rejection::new("model_not_allowed", 403));
//!     return;
//! }
//! let request = request.dispatch();
//! ```
//!
//! # 4. Attempts
//!
//! They are numbered, and counted as retries. The account in the row is the last one's. What the end of a stream means, for the attempt and
//! for the request, is [`Terminal`](crate::Terminal)'s to know: a response that the token limit cut short is a success, one that an error
//! cut short is a failure with its code.
//!
//! ```
//! # fn upstream(request: codex_pooler_exporter::Request) {
//! use codex_pooler_exporter::{Account, Attempt, AttemptEnd, End, Terminal};
//! use codex_pooler_exporter::contract::Transport;
//! use codex_pooler_exporter::uuid::Uuid;
//!
//! let account = |label: &str| Account { id: Some(Uuid::new_v4()), label: Some(label.into()), ..Account::default() };
//! let first = request.attempt(Attempt::new(account("Aurora seat 1"), Transport::HttpSse));
//! first.finish(AttemptEnd { http_status: Some(429), ..AttemptEnd::retryable("upstream_rate_limited") });
//!
//! let mut second = request.attempt(Attempt::new(account("Aurora seat 2"), Transport::HttpSse));
//! for _chunk in ["data: …", "data: …"] {
//!     second.output(); // The first one is the time to the first output.
//! }
//! let terminal = Terminal::Incomplete { reason: Some("max_output_tokens"), error: None };
//! second.finish(AttemptEnd { http_status: Some(200), ..AttemptEnd::of(terminal) });
//! let finished = request.finish(End { http_status: Some(200), ..End::of(terminal) });
//! # }
//! ```
//!
//! A handle that is dropped, because its task was cancelled or panicked, is a failure with the code
//! [`INTERRUPTED`](crate::INTERRUPTED), never silence.
//!
//! # 5. The settlement
//!
//! Only known usage has tokens, and only a price has a cost. A row waits for its settlement for 30 s as long as somebody has
//! [`Finished`](crate::Finished); what comes later is a correction of the row. Let go of without a settlement, it says that the usage is
//! unknown, so that no row stays pending.
//!
//! ```
//! # fn ledger(mut finished: codex_pooler_exporter::Finished) {
//! use codex_pooler_exporter::{Price, Settlement, Tokens};
//!
//! let tokens = Tokens { input: Some(640), output: Some(52), total: Some(692), ..Tokens::default() };
//! finished.settle(Settlement::Known { tokens, price: Price::Priced { usd: 0.000_264 } });
//! # }
//! ```
//!
//! # 6. The end
//!
//! [`Exporter::shutdown`](crate::Exporter::shutdown) sends what is left and says what was lost. At every moment
//! [`Totals`](crate::Totals) add up.
//!
//! ```
//! # let exporter = codex_pooler_exporter::Exporter::disabled();
//! let totals = exporter.shutdown();
//! assert_eq!(totals.emitted, totals.exported + totals.dropped() + totals.queued);
//! if totals.dropped() > 0 {
//!     eprintln!("telemetry lost: {totals:?}");
//! }
//! ```
//!
//! A program that ends without it, by [`std::process::exit`] or by a signal, takes along what is queued: half a second's worth, or what the
//! receiver has not taken yet. One that forks takes no threads along: build the exporter in the process that records.
//!
//! # In a server
//!
//! With the feature `tower`, on by default, the module `tower` opens and ends requests for a whole router: of steps 3 and 4, the
//! handler says what only it knows. With `tracing-layer`, on by default as well, the module `layer` exports the spans that the
//! application makes with [`tracing`] inside a request.
//!
//! # The row
//!
//! `pooler-otel requests` now shows it: succeeded, `Aurora seat 2 · Core agents`, one retry, `692 tokens · $0.0003`, and `error.code` none,
//! because a retry that helped is no error of the request. The column Errors names the failed attempt's code all the same.
//!
//! # What it costs
//!
//! The caller's thread appends to a queue of 8192 spans; composing, checking and sending are another thread's work. What does not fit is
//! dropped and counted. A receiver that is away is tried again for five minutes with growing pauses, one message at a time.
//!
//! The first exporter of a process prepares the contract's patterns, on the thread that builds it: a tenth of a second, and about two in a build
//! without optimization. Build it before the program serves anybody.
