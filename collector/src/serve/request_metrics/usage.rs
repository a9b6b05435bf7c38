//! What a row says of its settlement, and what of that is to be counted.

use contract::{PricingStatus, UsageStatus, attr};
use opentelemetry_proto::tonic::trace::v1::Span;
use sanitizer::view;

/// Kinds of tokens that are counted, by the row's attribute.
pub const TOKENS: [&str; 5] = [
    attr::USAGE_INPUT_TOKENS,
    attr::USAGE_CACHE_READ_INPUT_TOKENS,
    attr::USAGE_CACHE_WRITE_INPUT_TOKENS,
    attr::USAGE_OUTPUT_TOKENS,
    attr::USAGE_REASONING_OUTPUT_TOKENS,
];

/// What a row, or a correction of it, says. A correction says only what changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Pool, by slug.
    pub pool: Option<String>,
    /// Model.
    pub model: Option<String>,
    status: Option<UsageStatus>,
    pricing: Option<PricingStatus>,
    tokens: [Option<u64>; TOKENS.len()],
    cost_usd: Option<f64>,
}

impl Usage {
    /// What the span of a row or of a correction says.
    pub fn of(span: &Span) -> Self {
        let text = |key| view::text(&span.attributes, key);
        Self {
            pool: text(attr::POOL_SLUG).map(str::to_owned),
            model: text(attr::REQUEST_MODEL).map(str::to_owned),
            status: text(attr::USAGE_STATUS).and_then(UsageStatus::parse),
            pricing: text(attr::PRICING_STATUS).and_then(PricingStatus::parse),
            tokens: TOKENS.map(|key| view::int(&span.attributes, key).and_then(|n| u64::try_from(n).ok())),
            cost_usd: view::double(&span.attributes, attr::COST_SETTLED_USD),
        }
    }

    /// Lays what was learned later over it.
    pub fn correct(&mut self, later: &Self) {
        fn set<T: Clone>(now: &mut Option<T>, later: Option<&T>) {
            if let Some(later) = later {
                *now = Some(later.clone());
            }
        }
        set(&mut self.pool, later.pool.as_ref());
        set(&mut self.model, later.model.as_ref());
        set(&mut self.status, later.status.as_ref());
        set(&mut self.pricing, later.pricing.as_ref());
        set(&mut self.cost_usd, later.cost_usd.as_ref());
        for (now, later) in self.tokens.iter_mut().zip(&later.tokens) {
            set(now, later.as_ref());
        }
    }

    /// Usage and pricing status of a settled row; `None` while its settlement is pending, and where none can exist.
    pub fn settlement(&self) -> Option<(UsageStatus, PricingStatus)> {
        match self.status? {
            UsageStatus::UsagePending | UsageStatus::NotApplicable => None,
            status @ (UsageStatus::UsageKnown | UsageStatus::UsageUnknown | UsageStatus::Other) => {
                Some((status, self.pricing.unwrap_or(PricingStatus::None)))
            }
        }
    }

    /// Tokens of a kind, in the order of [`TOKENS`]; 0 unless the usage is known.
    pub fn tokens(&self, kind: usize) -> u64 {
        if self.is_known() { self.tokens[kind].unwrap_or(0) } else { 0 }
    }

    /// Settled cost in US dollars; 0 unless the usage is known and priced.
    pub fn cost_usd(&self) -> f64 {
        let priced = self.is_known() && self.pricing == Some(PricingStatus::Priced);
        self.cost_usd.filter(|usd| priced && usd.is_finite()).unwrap_or(0.0)
    }

    fn is_known(&self) -> bool {
        self.status == Some(UsageStatus::UsageKnown)
    }
}
