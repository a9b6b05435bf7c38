//! Spans. What a span's attributes may be depends on other attributes of it, which can come later; so a span is read first, and judged
//! when all of it is known.

use std::ops::Range;

use contract::{DropReason, Place, RecordKind, StripReason};
use wire::otlp::{event, key_value, link, span, status};
use wire::{Field, Fields, write};

use super::attributes::{Attribute, Rules, tag};
use super::tables::RecordTables;
use super::{MAX_LINKS, Once, Part, Stop, Walk};
use crate::reference::{DEFINED_FLAGS, MAX_LINKS as MAX_KEPT_LINKS, STATUS_CODES};
use crate::row_id::{is_at_home, is_root};
use crate::times::Times;

/// Around a span are the request and the two groups.
const SPAN_DEPTH: usize = 3;
/// Around what is inside a span's field.
const FIELD_DEPTH: usize = SPAN_DEPTH + 1;

/// Something in a span, besides its attributes, that has to be judged or that goes.
#[derive(Debug)]
pub(super) struct Other<'a> {
    /// Where it stands in the whole message.
    range: Range<usize>,
    what: What<'a>,
}

#[derive(Debug)]
enum What<'a> {
    /// Goes, and is counted with the whole message.
    Unknown,
    /// Goes, and is counted: so many fields at a place, for a reason.
    Stripped(Place, StripReason, u64),
    /// A name that cannot stay, and why.
    Name(StripReason),
    Link(Link<'a>),
    /// A status of which something goes.
    Status {
        code: u64,
        had_text: bool,
        had_unknown: bool,
    },
    Flags(u32),
    /// The kind that the span has to have.
    Kind(i32),
}

/// A link as it stands in the message.
#[derive(Debug, Default)]
pub(super) struct Link<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    flags: u32,
    attributes: u64,
    had_state: bool,
    had_count: bool,
    had_unknown: bool,
}

impl Other<'_> {
    /// Adds an unknown field or an event, to the one before if that is its neighbour: so a span of nothing but these needs no memory.
    fn push_cut(others: &mut Vec<Self>, range: Range<usize>, events: u64) {
        match (others.last_mut(), events) {
            (Some(Self { range: last, what: What::Unknown }), 0) if last.end == range.start => last.end = range.end,
            (Some(Self { range: last, what: What::Stripped(Place::SpanEvent, _, count) }), 1) if last.end == range.start => {
                last.end = range.end;
                *count += events;
            }
            (_, 0) => others.push(Self { range, what: What::Unknown }),
            _ => others.push(Self { range, what: What::Stripped(Place::SpanEvent, StripReason::NotAllowed, events) }),
        }
    }
}

/// What a span says about itself, besides what is in its entries.
#[derive(Default)]
struct Head<'a> {
    trace_id: &'a [u8],
    span_id: &'a [u8],
    start_unix_ns: u64,
    end_unix_ns: u64,
    /// The name, and where it stands.
    name: Option<(&'a [u8], Range<usize>)>,
    links: usize,
    /// The span's kind, and where it stands.
    kind: Option<(i32, Range<usize>)>,
    /// Where a parent's id stands that can be one.
    parent: Option<Range<usize>>,
}

impl Head<'_> {
    fn judge<'a>(
        &self,
        times: Times,
        kind: Option<RecordKind>,
        request_ids: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), DropReason> {
        if !is_id(self.trace_id, 16) || !is_id(self.span_id, 8) {
            Err(DropReason::InvalidId)
        } else if !times.contain_span(self.start_unix_ns, self.end_unix_ns) {
            Err(DropReason::InvalidTime)
        } else if !is_at_home(kind, self.trace_id, request_ids) {
            Err(DropReason::InvalidId)
        } else {
            Ok(())
        }
    }

    /// Adds the edits that the kind of record asks for, and that of a name that cannot stay, each in its place.
    fn edits(&self, record: &RecordTables, name: Result<(), StripReason>, others: &mut Vec<Other<'_>>) {
        let mut add = |range: Range<usize>, what| {
            let at = others.partition_point(|other| other.range.start < range.start);
            others.insert(at, Other { range, what });
        };
        let span_kind = record.record.span_kind.number();
        if let Some((kind, range)) = &self.kind
            && *kind != span_kind
        {
            add(range.clone(), What::Kind(span_kind));
        }
        if let (Some((_, range)), Err(reason)) = (&self.name, name) {
            add(range.clone(), What::Name(reason));
        }
        if let Some(range) = self.parent.clone().filter(|_| is_root(record.record.kind)) {
            add(range, What::Stripped(Place::ParentId, StripReason::NotAllowed, 1));
        }
    }
}

impl<'a> Walk<'a> {
    /// Whether the span stays.
    pub(super) fn span(&mut self, part: Part<'a>) -> Result<bool, Stop> {
        let (mut attributes, mut others) = (self.next_record(), std::mem::take(&mut self.others));
        others.clear();
        let head = self.read(part, &mut attributes, &mut others)?;
        self.tally.parsed();
        let kind = Attribute::first_text(&attributes, self.tables.record_kind)?.and_then(RecordKind::parse);
        let request_ids = Attribute::texts(&attributes, self.tables.request_id);
        let keep = match head.judge(self.times, kind, request_ids) {
            Ok(()) => {
                self.tally.accepted();
                let record = self.tables.record(kind);
                let name = self.judge_name(&head, record)?;
                head.edits(record, name, &mut others);
                self.judge(part, &head, record, &attributes, &others)?;
                true
            }
            Err(reason) => {
                self.tally.dropped(reason);
                // Texts are checked when they are judged, and these are not.
                wire::validate(part.content, &span::MESSAGE, SPAN_DEPTH)?;
                false
            }
        };
        (self.attributes, self.others) = (attributes, others);
        Ok(keep)
    }

    #[inline]
    fn read(
        &mut self,
        part: Part<'a>,
        attributes: &mut Vec<Attribute<'a>>,
        others: &mut Vec<Other<'a>>,
    ) -> Result<Head<'a>, Stop> {
        let (mut once, mut head, mut fields) = (Once::default(), Head::default(), Fields::new(part.content));
        loop {
            // Most of a span is attributes, one after the other.
            while let Some((content, range)) = fields.take_short(const { tag(span::ATTRIBUTES, 2) }) {
                let range = part.at + range.start..part.at + range.end;
                self.read_attribute(content, FIELD_DEPTH, range, attributes)?;
            }
            let Some(field) = fields.next() else { break };
            let field = field?;
            if !matches!(field.number, span::ATTRIBUTES | span::EVENTS | span::LINKS) && field.number <= span::FLAGS {
                once.see(field.number)?;
            }
            let place = || part.place(&field);
            let what = match field.number {
                span::ATTRIBUTES => {
                    self.read_attribute(field.bytes()?, FIELD_DEPTH, place(), attributes)?;
                    continue;
                }
                span::TRACE_ID => {
                    head.trace_id = field.bytes()?;
                    continue;
                }
                span::SPAN_ID => {
                    head.span_id = field.bytes()?;
                    continue;
                }
                span::START_TIME_UNIX_NANO => {
                    head.start_unix_ns = field.fixed64()?;
                    continue;
                }
                span::END_TIME_UNIX_NANO => {
                    head.end_unix_ns = field.fixed64()?;
                    continue;
                }
                span::NAME => {
                    head.name = Some((field.bytes()?, place()));
                    continue;
                }
                span::PARENT_SPAN_ID => {
                    let id = field.bytes()?;
                    if id.is_empty() {
                        continue;
                    }
                    if is_id(id, 8) {
                        head.parent = Some(place());
                        continue;
                    }
                    What::Stripped(Place::ParentId, StripReason::NotAllowed, 1)
                }
                span::KIND => {
                    // The reference sees the lower half alone.
                    let kind = i32::try_from(field.varint()?.cast_signed()).map_err(|_| Stop::Slow)?;
                    head.kind = Some((kind, place()));
                    continue;
                }
                span::FLAGS => {
                    let flags = field.fixed32()?;
                    if flags & !DEFINED_FLAGS == 0 {
                        continue;
                    }
                    What::Flags(flags & DEFINED_FLAGS)
                }
                span::STATUS => match status(&field)? {
                    None => continue,
                    Some(status) => status,
                },
                span::TRACE_STATE => {
                    if field.text()?.is_empty() {
                        continue;
                    }
                    What::Stripped(Place::TraceState, StripReason::NotAllowed, 1)
                }
                span::DROPPED_ATTRIBUTES_COUNT | span::DROPPED_EVENTS_COUNT | span::DROPPED_LINKS_COUNT => {
                    if count(&field)? == 0 {
                        continue;
                    }
                    What::Stripped(Place::Number, StripReason::NotAllowed, 1)
                }
                span::EVENTS => {
                    self.may_have_undefined |= wire::validate(field.bytes()?, &event::MESSAGE, FIELD_DEPTH)?;
                    Other::push_cut(others, place(), 1);
                    continue;
                }
                span::LINKS => {
                    head.links += 1;
                    if head.links > MAX_LINKS {
                        return Err(Stop::Slow);
                    }
                    What::Link(Link::parse(&field)?)
                }
                _ => {
                    Other::push_cut(others, place(), 0);
                    continue;
                }
            };
            others.push(Other { range: place(), what });
        }
        Ok(head)
    }

    /// Whether the name may stay, if there is one; if not, why.
    fn judge_name(&mut self, head: &Head<'a>, record: &RecordTables) -> Result<Result<(), StripReason>, Stop> {
        let Some((name, range)) = &head.name else { return Ok(Ok(())) };
        if self.recent_names.get(name).is_some_and(|(number, _)| number == record.number) {
            return Ok(Ok(()));
        }
        let verdict = record.judge_name(self.policy, name)?;
        if verdict.is_ok() {
            self.recent_names.remember(range.end - name.len()..range.end, record.number, 0);
        }
        Ok(verdict)
    }

    /// Notes the edits of a span that stays.
    fn judge(
        &mut self,
        part: Part<'a>,
        head: &Head<'a>,
        record: &'a RecordTables,
        attributes: &[Attribute<'a>],
        others: &[Other<'a>],
    ) -> Result<(), Stop> {
        let rules = Rules {
            attributes,
            allowed: &record.keys,
            hidden: self.hidden(attributes)?,
            is_correction: record.record.kind == Some(RecordKind::Correction),
            place: Place::SpanAttribute,
            field: span::ATTRIBUTES,
        };
        let attributes = if self.all_stay(&rules)? { &[] } else { attributes };
        if attributes.is_empty() && others.is_empty() && head.kind.is_some() && head.name.is_some() {
            return Ok(());
        }
        let frame = self.splice.open(part.range());
        let (mut others, mut kept_links) = (others.iter().peekable(), 0);
        for attribute in attributes {
            while let Some(other) = others.next_if(|other| other.range.start < attribute.start) {
                self.other(other, record, &mut kept_links)?;
            }
            self.attribute(attribute, &rules)?;
        }
        for other in others {
            self.other(other, record, &mut kept_links)?;
        }
        if head.kind.is_none() {
            let end = part.range().end;
            self.span_kind(end..end, record.record.span_kind.number());
        }
        if head.name.is_none()
            && let Err(reason) = record.judge_name(self.policy, b"")?
        {
            let end = part.range().end;
            self.fall_back_name(end..end, record.record.fallback_name, reason);
        }
        self.splice.close(frame);
        Ok(())
    }

    /// Notes the edit of something besides the attributes.
    fn other(&mut self, other: &Other<'a>, record: &RecordTables, kept_links: &mut usize) -> Result<(), Stop> {
        let range = other.range.clone();
        match &other.what {
            What::Name(reason) => self.fall_back_name(range, record.record.fallback_name, *reason),
            What::Unknown => self.cut(range),
            What::Stripped(place, reason, fields) => {
                self.tally.strip_many(*place, *reason, *fields);
                self.splice.cut(range);
            }
            What::Link(link) => self.link(range, link, kept_links),
            What::Status { code, had_text, had_unknown } => {
                self.may_have_undefined |= had_unknown;
                self.status(range, *code, *had_text)?;
            }
            What::Kind(kind) => self.span_kind(range, *kind),
            What::Flags(flags) => {
                self.tally.strip(Place::Number, StripReason::OutOfRange);
                self.splice.replace(range, |out| write::fixed32_field(out, span::FLAGS, *flags));
            }
        }
        Ok(())
    }

    fn span_kind(&mut self, range: Range<usize>, kind: i32) {
        self.tally.strip(Place::Number, StripReason::NotDerived);
        self.splice.replace(range, |out| write::varint_field(out, span::KIND, kind.unsigned_abs().into()));
    }

    fn fall_back_name(&mut self, range: Range<usize>, name: &str, reason: StripReason) {
        self.tally.strip(Place::SpanName, reason);
        self.splice.replace(range, |out| write::bytes_field(out, span::NAME, name.as_bytes()));
    }

    fn link(&mut self, range: Range<usize>, link: &Link<'a>, kept: &mut usize) {
        self.may_have_undefined |= link.had_unknown;
        self.tally.strip_many(Place::SpanLink, StripReason::NotAllowed, link.attributes);
        if link.had_state {
            self.tally.strip(Place::TraceState, StripReason::NotAllowed);
        }
        if link.had_count {
            self.tally.strip(Place::Number, StripReason::NotAllowed);
        }
        if *kept == MAX_KEPT_LINKS || !is_id(link.trace_id, 16) || !is_id(link.span_id, 8) {
            self.tally.strip(Place::SpanLink, StripReason::NotAllowed);
            self.splice.cut(range);
            return;
        }
        *kept += 1;
        let undefined_flags = link.flags & !DEFINED_FLAGS != 0;
        if undefined_flags {
            self.tally.strip(Place::Number, StripReason::OutOfRange);
        }
        if undefined_flags || link.attributes > 0 || link.had_state || link.had_count || link.had_unknown {
            self.splice.replace(range, |out| {
                let mut content = Vec::new();
                write::bytes_field(&mut content, link::TRACE_ID, link.trace_id);
                write::bytes_field(&mut content, link::SPAN_ID, link.span_id);
                write::fixed32_field(&mut content, link::FLAGS, link.flags & DEFINED_FLAGS);
                write::bytes_field(out, span::LINKS, &content);
            });
        }
    }

    fn status(&mut self, range: Range<usize>, code: u64, had_text: bool) -> Result<(), Stop> {
        if had_text {
            self.tally.strip(Place::StatusMessage, StripReason::NotAllowed);
        }
        let defined = is_one_of(&STATUS_CODES, code)?;
        if !defined {
            self.tally.strip(Place::Number, StripReason::OutOfRange);
        }
        self.splice.replace(range, |out| {
            let mut content = Vec::new();
            write::varint_field(&mut content, status::CODE, if defined { code } else { 0 });
            write::bytes_field(out, span::STATUS, &content);
        });
        Ok(())
    }
}

impl<'a> Link<'a> {
    fn parse(field: &Field<'a>) -> Result<Self, Stop> {
        let (mut once, mut parsed) = (Once::default(), Self::default());
        for field in Fields::new(field.bytes()?) {
            let field = field?;
            if field.number <= link::FLAGS && field.number != link::ATTRIBUTES {
                once.see(field.number)?;
            }
            match field.number {
                link::TRACE_ID => parsed.trace_id = field.bytes()?,
                link::SPAN_ID => parsed.span_id = field.bytes()?,
                link::TRACE_STATE => parsed.had_state = !field.text()?.is_empty(),
                link::ATTRIBUTES => {
                    parsed.had_unknown |= wire::validate(field.bytes()?, &key_value::MESSAGE, FIELD_DEPTH + 1)?;
                    parsed.attributes += 1;
                }
                link::DROPPED_ATTRIBUTES_COUNT => parsed.had_count = count(&field)? != 0,
                link::FLAGS => parsed.flags = field.fixed32()?,
                _ => parsed.had_unknown = true,
            }
        }
        Ok(parsed)
    }
}

/// A status of which something goes, or nothing.
fn status<'a>(field: &Field<'a>) -> Result<Option<What<'a>>, Stop> {
    let mut once = Once::default();
    let (mut code, mut had_text, mut had_unknown) = (0, false, false);
    for field in Fields::new(field.bytes()?) {
        let field = field?;
        match field.number {
            status::MESSAGE_TEXT => {
                once.see(field.number)?;
                had_text = !field.text()?.is_empty();
            }
            status::CODE => {
                once.see(field.number)?;
                code = field.varint()?;
            }
            _ => had_unknown = true,
        }
    }
    let exact = !had_text && !had_unknown && is_one_of(&STATUS_CODES, code)?;
    Ok((!exact).then_some(What::Status { code, had_text, had_unknown }))
}

/// A count of what an SDK dropped.
pub(super) fn count(field: &Field<'_>) -> Result<u64, Stop> {
    let count = field.varint()?;
    // The reference sees the lower half alone.
    if u32::try_from(count).is_err() { Err(Stop::Slow) } else { Ok(count) }
}

/// Whether an enumeration has a defined value.
fn is_one_of(defined: &std::ops::RangeInclusive<i32>, value: u64) -> Result<bool, Stop> {
    // The reference sees the lower half alone.
    i32::try_from(value.cast_signed()).map(|value| defined.contains(&value)).map_err(|_| Stop::Slow)
}

pub(super) fn is_id(id: &[u8], length_bytes: usize) -> bool {
    id.len() == length_bytes && id.iter().any(|b| *b != 0)
}
