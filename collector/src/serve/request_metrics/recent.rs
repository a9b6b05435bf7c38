//! What is new in a message, from memory: for a collector without a store. It forgets at a restart, which the store does not.

use std::time::SystemTime;

use contract::{RecordKind, attr};
use opentelemetry_proto::tonic::trace::v1::Span;
use sanitizer::view;

use super::generations::Generations;
use super::usage::Usage;

/// What a span says that was not known, and what it makes of its row's usage.
#[derive(Debug, Default)]
pub struct News {
    /// The span was not there before.
    pub is_new: bool,
    /// Usage of its row before, if that was there.
    pub before: Option<Usage>,
    /// Usage of its row since, if the span is a row or a correction of one that is there.
    pub now: Option<Usage>,
}

impl From<&store::Change> for News {
    fn from(change: &store::Change) -> Self {
        Self {
            is_new: change.is_new,
            before: change.row_before.as_deref().map(Usage::of),
            now: change.row_now.as_deref().map(Usage::of),
        }
    }
}

/// Spans and rows of the last minutes.
#[derive(Debug, Default)]
pub struct Recent {
    spans: Generations<([u8; 16], [u8; 8]), ()>,
    rows: Generations<[u8; 16], Row>,
}

#[derive(Debug, Default)]
struct Row {
    /// `None` while only corrections have arrived.
    usage: Option<Usage>,
    corrections: Usage,
    last_correction: i64,
}

impl Row {
    /// The row with its corrections.
    fn corrected(&self) -> Option<Usage> {
        let mut usage = self.usage.clone()?;
        usage.correct(&self.corrections);
        Some(usage)
    }
}

impl Recent {
    /// Remembers a span, and says what is new in it.
    pub fn insert(&mut self, span: &Span, now: SystemTime) -> News {
        let ids = (<[u8; 16]>::try_from(span.trace_id.as_slice()), <[u8; 8]>::try_from(span.span_id.as_slice()));
        let (Ok(trace_id), Ok(span_id)) = ids else { return News::default() };
        let kind = view::record_kind(span);
        if kind == Some(RecordKind::InProgress) {
            return News { is_new: true, ..News::default() };
        }
        let mut news = News { is_new: !self.spans.contains(&(trace_id, span_id)), ..News::default() };
        self.spans.insert((trace_id, span_id), (), now);
        if !matches!(kind, Some(RecordKind::Request | RecordKind::Correction)) {
            return news;
        }
        let mut row = self.rows.remove(&trace_id).unwrap_or_default();
        news.before = row.corrected();
        if kind == Some(RecordKind::Request) {
            news.is_new = row.usage.is_none();
            row.usage = Some(Usage::of(span));
        } else {
            // One that was overtaken by a later one has nothing to say.
            let sequence = view::int(&span.attributes, attr::CORRECTION_SEQUENCE).unwrap_or(0);
            if sequence >= row.last_correction {
                row.corrections.correct(&Usage::of(span));
                row.last_correction = sequence;
            }
        }
        news.now = row.corrected();
        self.rows.insert(trace_id, row, now);
        news
    }
}
