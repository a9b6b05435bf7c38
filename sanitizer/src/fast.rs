//! The fast sanitizer: decides on the bytes, without decoding. A message in which nothing has to change goes on as it came, byte by byte;
//! another one is copied once, around what is cut out and put in.
//!
//! It is an optimisation of the reference and has no opinion of its own: property tests hold that both mean the same, down to the reason of each
//! refusal. A message that is legal but unlike anything that an OpenTelemetry SDK writes, it leaves to the reference as a whole:
//!
//! - a field that may occur once and occurs twice, a value with two types at once, a metric with two kinds of data;
//! - numbers padded with zero bits, groups, and numbers with more bits than their field has, all of which can hide bytes in a message;
//! - fields that OTLP does not define inside a list value (elsewhere they are cut out);
//! - more than [`MAX_ATTRIBUTES`] attributes or [`MAX_LINKS`] links in one place.
//!
//! Of metrics such a message may not be long: a decoder makes eight bytes of one in a list of numbers. Lists themselves, packed or not, are added up
//! where they stand; one that is kept comes out packed, in one piece.
//!
//! A clean message keeps the order of its fields, which says nothing; the reference would sort them by number.
//!
//! Memory is in proportion to the message, and small: nothing is kept of a record but a few words for each of its attributes, and of
//! a change but its place. The first call with a policy builds its tables, 2 MiB in some 50 ms; an empty message will do for that.

mod attributes;
mod automaton;
mod logs;
mod metrics;
mod recent;
mod secret;
mod span;
mod tables;
mod tally;
#[cfg(test)]
mod tests;
mod undefined;

use std::ops::Range;

use bytes::Bytes;
use contract::{Place, Signal, StripReason, attr};
use wire::otlp::{
    entity_ref, export_trace_service_request, instrumentation_scope, key_value, resource, resource_spans, scope_spans,
};
use wire::{Field, Fields, Splice, write};

use self::attributes::{Attribute, Order, Present, Rules};
use self::recent::Recent;
use self::span::Other;
use self::tables::Keys;
pub(crate) use self::tables::Tables;
use self::tally::Tally;
use crate::check::{Value, by_rule};
use crate::times::Times;
use crate::{Policy, Refused, Report, weight};

/// The most attributes in one place that are dealt with here; the default limit of OpenTelemetry's SDKs.
pub const MAX_ATTRIBUTES: usize = 128;
/// So many have room from the start: what an allocator gives away at once is some 1 KiB.
const USUAL_ATTRIBUTES: usize = 16;
/// The most links of one span that are dealt with here; the default limit of OpenTelemetry's SDKs.
pub const MAX_LINKS: usize = 128;

/// What became of a message.
#[derive(Debug)]
pub enum Fast {
    /// Nothing has to change: the message that came in goes on.
    Clean(Report),
    /// The message without what was stripped and dropped.
    Rewritten(Bytes, Report),
    /// For the reference to decide.
    Slow,
}

/// Sanitizes an `ExportTraceServiceRequest` in protobuf, by this policy; its records can be from these times.
///
/// # Errors
/// [`Refused::Protobuf`] if any part of it cannot be parsed. When the answer is [`Fast::Slow`], it may still turn out to be so.
pub fn traces(policy: &Policy, times: Times, message: &[u8]) -> Result<Fast, Refused> {
    walk(policy, times, message, Signal::Traces, Walk::span)
}

/// Sanitizes an `ExportLogsServiceRequest`, in the same way.
///
/// # Errors
/// The same.
pub fn logs(policy: &Policy, times: Times, message: &[u8]) -> Result<Fast, Refused> {
    walk(policy, times, message, Signal::Logs, Walk::log_record)
}

/// Sanitizes an `ExportMetricsServiceRequest`, in the same way. Its lists of numbers come out in one piece.
///
/// # Errors
/// The same.
pub fn metrics(policy: &Policy, times: Times, message: &[u8]) -> Result<Fast, Refused> {
    walk(policy, times, message, Signal::Metrics, Walk::metric)
}

fn walk<'a>(
    policy: &'a Policy,
    times: Times,
    message: &'a [u8],
    signal: Signal,
    judge_record: JudgeRecord<'a>,
) -> Result<Fast, Refused> {
    let mut walk = Walk {
        message,
        policy,
        tables: policy.tables(),
        times,
        judge_record,
        splice: Splice::new(message),
        may_have_undefined: false,
        tally: Tally::default(),
        attributes: Vec::with_capacity(USUAL_ATTRIBUTES),
        others: Vec::new(),
        order: Order::default(),
        present: Present::default(),
        kept: Keys::default(),
        recent: Recent::new(message),
        recent_names: Recent::new(message),
    };
    match walk.request() {
        Ok(()) => {}
        Err(Stop::Refused) => return Err(Refused::Protobuf),
        Err(Stop::Slow) => return Ok(Fast::Slow),
    }
    let mut report = walk.tally.into_report(policy);
    if walk.splice.is_empty() {
        return Ok(Fast::Clean(report));
    }
    if walk.may_have_undefined {
        report.strip_undefined(undefined::fields(message, weight::request(signal), walk.splice.changes()));
    }
    Ok(Fast::Rewritten(walk.splice.finish().into(), report))
}

/// Judges a record of one signal, or a metric with its records: whether it stays.
type JudgeRecord<'a> = fn(&mut Walk<'a>, Part<'a>) -> Result<bool, Stop>;

/// Why the walk ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// No decoder would accept the message.
    Refused,
    /// The message is unusual.
    Slow,
}

impl From<wire::Error> for Stop {
    fn from(error: wire::Error) -> Self {
        match error {
            wire::Error::Padded | wire::Error::Group => Self::Slow,
            _ => Self::Refused,
        }
    }
}

/// The content of a nested message, and where it starts in the whole message.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    content: &'a [u8],
    at: usize,
}

impl<'a> Part<'a> {
    /// The message in a field of this one.
    fn inner(self, field: &Field<'a>) -> Result<Self, Stop> {
        let content = field.bytes()?;
        Ok(Self { content, at: self.at + field.end - content.len() })
    }

    /// Where a field of this message stands in the whole message.
    fn place(self, field: &Field<'_>) -> Range<usize> {
        self.at + field.start..self.at + field.end
    }

    fn range(self) -> Range<usize> {
        self.at..self.at + self.content.len()
    }
}

/// The numbers of the fields that occurred, for those that may occur once.
#[derive(Default)]
struct Once(u32);

impl Once {
    /// Numbers of OTLP's fields are below 32.
    #[inline]
    fn see(&mut self, number: u32) -> Result<(), Stop> {
        let bit = 1_u32.checked_shl(number).unwrap_or(0);
        if self.0 & bit != 0 {
            return Err(Stop::Slow);
        }
        self.0 |= bit;
        Ok(())
    }
}

/// One message on its way. The groups around records have the same fields in every signal.
struct Walk<'a> {
    message: &'a [u8],
    policy: &'a Policy,
    tables: &'a Tables,
    times: Times,
    judge_record: JudgeRecord<'a>,
    splice: Splice<'a>,
    /// Whether anything changed so far that may have had fields in it which OTLP does not define.
    may_have_undefined: bool,
    tally: Tally,
    /// The attributes of the record at hand, and what else has to be judged in it. Kept for their memory alone.
    attributes: Vec<Attribute<'a>>,
    others: Vec<Other<'a>>,
    order: Order,
    present: Present,
    /// Keys that were kept in the record at hand.
    kept: Keys,
    /// Attributes that their own rules allow, each with its key's number; and names, each with its record's.
    recent: Recent<'a>,
    recent_names: Recent<'a>,
}

impl<'a> Walk<'a> {
    fn request(&mut self) -> Result<(), Stop> {
        let part = Part { content: self.message, at: 0 };
        for field in Fields::new(self.message) {
            let field = field?;
            if field.number != export_trace_service_request::RESOURCE_SPANS || !self.resource_spans(part.inner(&field)?)? {
                self.cut(part.place(&field));
            }
        }
        Ok(())
    }

    /// Whether a record is left: an empty group says nothing.
    fn resource_spans(&mut self, part: Part<'a>) -> Result<bool, Stop> {
        let frame = self.splice.open(part.range());
        let (mut once, mut any) = (Once::default(), false);
        for field in Fields::new(part.content) {
            let field = field?;
            let keep = match field.number {
                resource_spans::RESOURCE => {
                    once.see(field.number)?;
                    self.resource(part.inner(&field)?)?;
                    true
                }
                resource_spans::SCOPE_SPANS => {
                    let keep = self.scope_spans(part.inner(&field)?)?;
                    any |= keep;
                    keep
                }
                resource_spans::SCHEMA_URL => {
                    once.see(field.number)?;
                    self.schema_url(field.text()?)
                }
                _ => false,
            };
            if !keep {
                self.cut(part.place(&field));
            }
        }
        self.leave(frame, any);
        Ok(any)
    }

    fn scope_spans(&mut self, part: Part<'a>) -> Result<bool, Stop> {
        let frame = self.splice.open(part.range());
        let (mut once, mut any) = (Once::default(), false);
        for field in Fields::new(part.content) {
            let field = field?;
            let keep = match field.number {
                scope_spans::SCOPE => {
                    once.see(field.number)?;
                    self.scope(part, &field)?;
                    true
                }
                scope_spans::SPANS => {
                    let keep = (self.judge_record)(self, part.inner(&field)?)?;
                    any |= keep;
                    keep
                }
                scope_spans::SCHEMA_URL => {
                    once.see(field.number)?;
                    self.schema_url(field.text()?)
                }
                _ => false,
            };
            if !keep {
                self.cut(part.place(&field));
            }
        }
        self.leave(frame, any);
        Ok(any)
    }

    /// Cuts a part in which not every field was read.
    fn cut(&mut self, range: Range<usize>) {
        self.may_have_undefined = true;
        self.splice.cut(range);
    }

    fn leave(&mut self, frame: wire::Frame, keep: bool) {
        if keep {
            self.splice.close(frame);
        } else {
            self.splice.forget(frame);
        }
    }

    fn schema_url(&mut self, url: &str) -> bool {
        let keep = url.is_empty() || url == contract::SCHEMA_URL;
        if !keep {
            self.tally.strip(Place::SchemaUrl, StripReason::NotAllowed);
        }
        keep
    }

    fn resource(&mut self, part: Part<'a>) -> Result<(), Stop> {
        /// Around an attribute are the request, the group and the resource.
        const ATTRIBUTE_DEPTH: usize = 3;
        let frame = self.splice.open(part.range());
        let mut once = Once::default();
        let mut attributes = self.next_record();
        // Cuts come in between; attributes are judged when all are known.
        let mut cuts: Vec<Range<usize>> = Vec::new();
        for field in Fields::new(part.content) {
            let field = field?;
            let keep = match field.number {
                resource::ATTRIBUTES => {
                    self.read_attribute(field.bytes()?, ATTRIBUTE_DEPTH, part.place(&field), &mut attributes)?;
                    true
                }
                resource::DROPPED_ATTRIBUTES_COUNT => {
                    once.see(field.number)?;
                    !self.strip_count(&field)?
                }
                resource::ENTITY_REFS => {
                    wire::validate(field.bytes()?, &entity_ref::MESSAGE, ATTRIBUTE_DEPTH)?;
                    self.tally.strip(Place::EntityRef, StripReason::NotAllowed);
                    false
                }
                _ => false,
            };
            if !keep {
                let place = part.place(&field);
                match cuts.last_mut() {
                    Some(last) if last.end == place.start => last.end = place.end,
                    _ => cuts.push(place),
                }
            }
        }
        let rules = Rules {
            attributes: &attributes,
            allowed: &self.tables.resource,
            hidden: self.hidden(&attributes)?,
            is_correction: false,
            place: Place::ResourceAttribute,
            field: resource::ATTRIBUTES,
        };
        let mut cuts = cuts.into_iter().peekable();
        for attribute in &attributes {
            while let Some(cut) = cuts.next_if(|cut| cut.start < attribute.start) {
                self.cut(cut);
            }
            self.attribute(attribute, &rules)?;
        }
        for cut in cuts {
            self.cut(cut);
        }
        self.attributes = attributes;
        self.splice.close(frame);
        Ok(())
    }

    /// Begins another resource or span; gives the list for its attributes.
    fn next_record(&mut self) -> Vec<Attribute<'a>> {
        self.kept = Keys::default();
        self.order.restart();
        self.present.restart();
        let mut attributes = std::mem::take(&mut self.attributes);
        attributes.clear();
        attributes
    }

    /// Whether a count has to go: counts of what a sender's SDK dropped say nothing here, and any number can carry a message.
    fn strip_count(&mut self, field: &Field<'_>) -> Result<bool, Stop> {
        let strip = span::count(field)? != 0;
        if strip {
            self.tally.strip(Place::Number, StripReason::NotAllowed);
        }
        Ok(strip)
    }

    fn scope(&mut self, around: Part<'a>, scope: &Field<'a>) -> Result<(), Stop> {
        /// Around an attribute are the request, the two groups and the scope.
        const ATTRIBUTE_DEPTH: usize = 4;
        let (mut once, mut exact) = (Once::default(), true);
        let (mut name, mut version) = ("", "");
        for field in Fields::new(scope.bytes()?) {
            let field = field?;
            match field.number {
                instrumentation_scope::NAME => {
                    once.see(field.number)?;
                    name = field.text()?;
                }
                instrumentation_scope::VERSION => {
                    once.see(field.number)?;
                    version = field.text()?;
                }
                instrumentation_scope::ATTRIBUTES => {
                    wire::validate(field.bytes()?, &key_value::MESSAGE, ATTRIBUTE_DEPTH)?;
                    self.tally.strip(Place::Scope, StripReason::NotAllowed);
                    exact = false;
                }
                instrumentation_scope::DROPPED_ATTRIBUTES_COUNT => {
                    once.see(field.number)?;
                    exact &= !self.strip_count(&field)?;
                }
                _ => exact = false,
            }
        }
        let ours = name == contract::SCOPE_NAME;
        // A scope's version is a version, so the rule for the service's version holds for it.
        let surely_passes = || {
            let key = self.tables.service_version.and_then(|number| self.tables.key(number));
            key.is_some_and(|key| key.surely_passes(version.as_bytes()))
        };
        let passes =
            || contract::attribute(attr::SERVICE_VERSION).is_some_and(|rule| by_rule(rule, Value::Text(version)).is_ok());
        let version_passes = ours && (surely_passes() || passes());
        for (text, passes) in [(&mut name, ours), (&mut version, version_passes)] {
            if !text.is_empty() && !passes {
                self.tally.strip(Place::Scope, StripReason::NotAllowed);
                *text = "";
                exact = false;
            }
        }
        if !exact {
            self.may_have_undefined = true;
            self.splice.replace(around.place(scope), |out| {
                let mut content = Vec::new();
                write::bytes_field(&mut content, instrumentation_scope::NAME, name.as_bytes());
                write::bytes_field(&mut content, instrumentation_scope::VERSION, version.as_bytes());
                write::bytes_field(out, scope_spans::SCOPE, &content);
            });
        }
        Ok(())
    }
}
