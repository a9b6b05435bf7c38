//! The attributes of a row that have a column of their own: what the request log filters by.

use contract::attr;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};

/// A text attribute of the row span that has a column, so that rows are told apart without decoding them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// `codex_pooler.pool.slug`
    PoolSlug,
    /// `codex_pooler.request.status`
    Status,
    /// `codex_pooler.request.outcome`
    Outcome,
    /// `codex_pooler.upstream.account.label`
    AccountLabel,
    /// `codex_pooler.request.model`
    Model,
    /// `codex_pooler.api_key.label`
    ApiKeyLabel,
    /// `codex_pooler.request.transport`
    Transport,
    /// `codex_pooler.error.code`
    ErrorCode,
    /// `codex_pooler.request.search`
    Search,
}

impl Column {
    /// Every column, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::PoolSlug,
        Self::Status,
        Self::Outcome,
        Self::AccountLabel,
        Self::Model,
        Self::ApiKeyLabel,
        Self::Transport,
        Self::ErrorCode,
        Self::Search,
    ];

    /// The column of an attribute, if it has one.
    #[must_use]
    pub fn of(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|column| column.key() == key)
    }

    /// The attribute in this column.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::PoolSlug => attr::POOL_SLUG,
            Self::Status => attr::REQUEST_STATUS,
            Self::Outcome => attr::REQUEST_OUTCOME,
            Self::AccountLabel => attr::UPSTREAM_ACCOUNT_LABEL,
            Self::Model => attr::REQUEST_MODEL,
            Self::ApiKeyLabel => attr::API_KEY_LABEL,
            Self::Transport => attr::REQUEST_TRANSPORT,
            Self::ErrorCode => attr::ERROR_CODE,
            Self::Search => attr::REQUEST_SEARCH,
        }
    }

    pub(crate) const fn sql(self) -> &'static str {
        match self {
            Self::PoolSlug => "pool_slug",
            Self::Status => "status",
            Self::Outcome => "outcome",
            Self::AccountLabel => "account_label",
            Self::Model => "model",
            Self::ApiKeyLabel => "api_key_label",
            Self::Transport => "transport",
            Self::ErrorCode => "error_code",
            Self::Search => "search",
        }
    }

    /// The value for this column in a span's attributes.
    pub(crate) fn value(self, attributes: &[KeyValue]) -> ToSqlOutput<'_> {
        match sanitizer::view::text(attributes, self.key()) {
            Some(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            None => ToSqlOutput::Owned(Value::Null),
        }
    }
}
