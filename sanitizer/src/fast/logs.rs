//! Log records. What one may carry depends on its event's name, which can come last; so a record is read first, as a span is, and judged when all
//! of it is known.

use std::ops::Range;

use contract::{DropReason, Place, StripReason};
use wire::otlp::{any_value, log_record};
use wire::{Fields, write};

use super::attributes::{Attribute, Rules};
use super::span::{count, is_id};
use super::{Once, Part, Stop, Walk};
use crate::reference::{LOG_FLAGS, SEVERITIES, is_severity_text};

/// Around a log record are the request and the two groups.
const RECORD_DEPTH: usize = 3;
/// Around what is inside a record's field.
const FIELD_DEPTH: usize = RECORD_DEPTH + 1;

/// Something in a record, besides its attributes, that goes.
struct Gone {
    /// Where it stands in the whole message.
    range: Range<usize>,
    /// For the report; nothing for what OTLP does not define.
    why: Option<(Place, StripReason)>,
    /// What is left of the flags.
    flags: Option<u32>,
}

/// What decides whether a record stays.
#[derive(Default)]
struct Head<'a> {
    event_name: &'a [u8],
    unix_ns: u64,
    observed_unix_ns: u64,
}

impl<'a> Walk<'a> {
    /// Whether the record stays.
    pub(super) fn log_record(&mut self, part: Part<'a>) -> Result<bool, Stop> {
        let mut attributes = self.next_record();
        let (head, gone) = self.read_log_record(part, &mut attributes)?;
        self.tally.parsed();
        // Either time may be unknown, but not both.
        let times_are_valid = (head.unix_ns != 0 || head.observed_unix_ns != 0)
            && self.times.contain_or_unknown(head.unix_ns)
            && self.times.contain_or_unknown(head.observed_unix_ns);
        let keys = match self.tables.event(head.event_name) {
            None => Err(DropReason::UnknownName),
            Some(_) if !times_are_valid => Err(DropReason::InvalidTime),
            Some(keys) => Ok(keys),
        };
        let keep = keys.is_ok();
        match keys {
            Ok(allowed) => {
                self.tally.accepted();
                let rules = Rules {
                    attributes: &attributes,
                    allowed,
                    hidden: self.hidden(&attributes)?,
                    is_correction: false,
                    place: Place::LogAttribute,
                    field: log_record::ATTRIBUTES,
                };
                self.judge_log_record(part, &rules, gone)?;
            }
            Err(reason) => {
                self.tally.dropped(reason);
                // Texts are checked when they are judged, and these are not.
                wire::validate(part.content, &log_record::MESSAGE, RECORD_DEPTH)?;
            }
        }
        self.attributes = attributes;
        Ok(keep)
    }

    fn read_log_record(&mut self, part: Part<'a>, attributes: &mut Vec<Attribute<'a>>) -> Result<(Head<'a>, Vec<Gone>), Stop> {
        let (mut once, mut head, mut gone) = (Once::default(), Head::default(), Vec::<Gone>::new());
        for field in Fields::new(part.content) {
            let field = field?;
            if field.number != log_record::ATTRIBUTES && field.number <= log_record::EVENT_NAME {
                once.see(field.number)?;
            }
            let range = part.place(&field);
            let mut flags = None;
            let why = match field.number {
                log_record::ATTRIBUTES => {
                    self.read_attribute(field.bytes()?, FIELD_DEPTH, range, attributes)?;
                    continue;
                }
                log_record::TIME_UNIX_NANO => {
                    head.unix_ns = field.fixed64()?;
                    continue;
                }
                log_record::OBSERVED_TIME_UNIX_NANO => {
                    head.observed_unix_ns = field.fixed64()?;
                    continue;
                }
                log_record::EVENT_NAME => {
                    head.event_name = field.text()?.as_bytes();
                    continue;
                }
                log_record::SEVERITY_NUMBER => {
                    // The reference sees the lower half alone.
                    let severity = i32::try_from(field.varint()?.cast_signed()).map_err(|_| Stop::Slow)?;
                    (!SEVERITIES.contains(&severity)).then_some((Place::Number, StripReason::OutOfRange))
                }
                log_record::SEVERITY_TEXT => {
                    (!is_severity_text(field.text()?)).then_some((Place::SeverityText, StripReason::NotAMember))
                }
                log_record::BODY => {
                    self.may_have_undefined |= wire::validate(field.bytes()?, &any_value::MESSAGE, FIELD_DEPTH)?;
                    Some((Place::LogBody, StripReason::NotAllowed))
                }
                log_record::DROPPED_ATTRIBUTES_COUNT => (count(&field)? != 0).then_some((Place::Number, StripReason::NotAllowed)),
                log_record::FLAGS => {
                    let given = field.fixed32()?;
                    flags = Some(given & LOG_FLAGS);
                    (given & !LOG_FLAGS != 0).then_some((Place::Number, StripReason::OutOfRange))
                }
                log_record::TRACE_ID | log_record::SPAN_ID => {
                    let length_bytes = if field.number == log_record::TRACE_ID { 16 } else { 8 };
                    let id = field.bytes()?;
                    (!id.is_empty() && !is_id(id, length_bytes)).then_some((Place::TraceContext, StripReason::NotAllowed))
                }
                _ => {
                    self.may_have_undefined = true;
                    match gone.last_mut() {
                        // So that a record of nothing but these needs no memory.
                        Some(Gone { range: last, why: None, .. }) if last.end == range.start => last.end = range.end,
                        _ => gone.push(Gone { range, why: None, flags: None }),
                    }
                    continue;
                }
            };
            if why.is_some() {
                gone.push(Gone { range, why, flags });
            }
        }
        Ok((head, gone))
    }

    /// Notes the edits of a record that stays.
    fn judge_log_record(&mut self, part: Part<'a>, rules: &Rules<'a, '_>, gone: Vec<Gone>) -> Result<(), Stop> {
        let frame = self.splice.open(part.range());
        let mut gone = gone.into_iter().peekable();
        for attribute in rules.attributes {
            while let Some(gone) = gone.next_if(|gone| gone.range.start < attribute.start) {
                self.goes(gone);
            }
            self.attribute(attribute, rules)?;
        }
        for gone in gone {
            self.goes(gone);
        }
        self.splice.close(frame);
        Ok(())
    }

    fn goes(&mut self, gone: Gone) {
        if let Some((place, reason)) = gone.why {
            self.tally.strip(place, reason);
        }
        match gone.flags {
            Some(flags) => self.splice.replace(gone.range, |out| write::fixed32_field(out, log_record::FLAGS, flags)),
            None => self.splice.cut(gone.range),
        }
    }
}
