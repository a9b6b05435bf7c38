//! Metrics. What a metric may carry follows from its name, and whether its data may go on from the name and the data, each of which can come last;
//! so a metric is looked through first, and judged when both are known. A record is a data point.

mod inside;
mod point;

use contract::{DropReason, Instrument, OtlpMetric, Place, StripReason};
use wire::Fields;
use wire::otlp::{exponential_histogram, gauge, histogram, key_value, metric, sum, summary};

use super::tables::Keys;
use super::{Once, Part, Stop, Walk};
use crate::reference::metrics::TEMPORALITIES;

/// Around a metric are the request and the two groups.
const METRIC_DEPTH: usize = 3;
/// Around what is inside a metric's field.
const FIELD_DEPTH: usize = METRIC_DEPTH + 1;

/// The number of the points, and of the temporality, in data of every kind that has them.
const DATA_POINTS: u32 = gauge::DATA_POINTS;
const TEMPORALITY: u32 = sum::AGGREGATION_TEMPORALITY;
const _: () = assert!(DATA_POINTS == sum::DATA_POINTS && DATA_POINTS == histogram::DATA_POINTS);
const _: () = assert!(DATA_POINTS == exponential_histogram::DATA_POINTS && DATA_POINTS == summary::DATA_POINTS);
const _: () = assert!(TEMPORALITY == histogram::AGGREGATION_TEMPORALITY);
const _: () = assert!(TEMPORALITY == exponential_histogram::AGGREGATION_TEMPORALITY);

/// The kinds of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Data {
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

impl Data {
    /// The kind of data that is in a metric's field of this number.
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            metric::GAUGE => Self::Gauge,
            metric::SUM => Self::Sum,
            metric::HISTOGRAM => Self::Histogram,
            metric::EXPONENTIAL_HISTOGRAM => Self::Exponential,
            metric::SUMMARY => Self::Summary,
            _ => return None,
        })
    }

    fn has_temporality(self) -> bool {
        matches!(self, Self::Sum | Self::Histogram | Self::Exponential)
    }

    /// Whether an instrument makes such data.
    fn fits(self, instrument: Instrument, is_monotonic: bool) -> bool {
        match self {
            Self::Gauge => instrument == Instrument::Gauge,
            Self::Sum => instrument == Instrument::Counter && is_monotonic,
            Self::Histogram | Self::Exponential | Self::Summary => instrument == Instrument::Histogram,
        }
    }
}

/// What decides about a metric as a whole.
#[derive(Default)]
struct Head<'a> {
    name: &'a str,
    data: Option<Data>,
    is_monotonic: bool,
    points: u64,
}

impl<'a> Head<'a> {
    fn read(part: Part<'a>) -> Result<Self, Stop> {
        let (mut once, mut head) = (Once::default(), Self::default());
        for field in Fields::new(part.content) {
            let field = field?;
            if field.number == metric::NAME {
                once.see(field.number)?;
                head.name = field.text()?;
            } else if let Some(data) = Data::of(field.number) {
                // Of two kinds of data, a decoder takes the last; two of a kind it merges.
                if head.data.replace(data).is_some() {
                    return Err(Stop::Slow);
                }
                head.read_data(data, field.bytes()?)?;
            }
        }
        Ok(head)
    }

    fn read_data(&mut self, data: Data, content: &[u8]) -> Result<(), Stop> {
        for field in Fields::new(content) {
            let field = field?;
            match field.number {
                DATA_POINTS => self.points += 1,
                sum::IS_MONOTONIC if data == Data::Sum => {
                    // Truth has one number; the reference takes any but 0 for it.
                    self.is_monotonic = match field.varint()? {
                        0 => false,
                        1 => true,
                        _ => return Err(Stop::Slow),
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Walk<'a> {
    /// Whether a point of the metric is left.
    pub(super) fn metric(&mut self, part: Part<'a>) -> Result<bool, Stop> {
        let head = Head::read(part)?;
        let judged = match (self.tables.metric(head.name), head.data) {
            (None, _) => Err(DropReason::UnknownName),
            (Some((rule, keys)), Some(data)) if data.fits(rule.instrument, head.is_monotonic) => Ok((rule, keys)),
            (Some(_), _) => Err(DropReason::WrongType),
        };
        match judged {
            Ok((rule, keys)) => self.judge_metric(part, rule, keys),
            Err(reason) => {
                // A metric without data is lost as well, and counts as one record.
                self.tally.lost(reason, if head.data.is_some() { head.points } else { 1 });
                // Texts and points are checked when they are judged, and these are not.
                wire::validate(part.content, &metric::MESSAGE, METRIC_DEPTH)?;
                Ok(false)
            }
        }
    }

    fn judge_metric(&mut self, part: Part<'a>, rule: &OtlpMetric, keys: &Keys) -> Result<bool, Stop> {
        let frame = self.splice.open(part.range());
        let (mut once, mut any) = (Once::default(), false);
        let mut stripped = [(Place::MetricDescription, 0), (Place::MetricUnit, 0), (Place::MetricMetadata, 0)];
        let [(_, descriptions), (_, units), (_, metadata)] = &mut stripped;
        for field in Fields::new(part.content) {
            let field = field?;
            // The contract's own text stays, and none.
            let mut strip_text = |allowed: &str, count: &mut u64| {
                once.see(field.number)?;
                let text = field.text()?;
                let keep = text.is_empty() || text == allowed;
                *count += u64::from(!keep);
                Ok::<_, Stop>(keep)
            };
            let keep = match field.number {
                metric::NAME => true,
                metric::DESCRIPTION => strip_text(rule.description, descriptions)?,
                metric::UNIT => strip_text(rule.unit, units)?,
                metric::METADATA => {
                    wire::validate(field.bytes()?, &key_value::MESSAGE, FIELD_DEPTH)?;
                    *metadata += 1;
                    false
                }
                number => match Data::of(number) {
                    Some(data) => {
                        any = self.data(data, part.inner(&field)?, keys)?;
                        true
                    }
                    None => false,
                },
            };
            if !keep {
                self.cut(part.place(&field));
            }
        }
        self.leave(frame, any);
        // Of a metric without points, nothing but its points is counted.
        if any {
            for (place, fields) in stripped {
                self.tally.strip_many(place, StripReason::NotAllowed, fields);
            }
        }
        Ok(any)
    }

    /// Whether a point is left.
    fn data(&mut self, data: Data, part: Part<'a>, keys: &Keys) -> Result<bool, Stop> {
        let frame = self.splice.open(part.range());
        let (mut once, mut any) = (Once::default(), false);
        for field in Fields::new(part.content) {
            let field = field?;
            let keep = match field.number {
                DATA_POINTS => {
                    let keep = self.point(data, part.inner(&field)?, keys)?;
                    any |= keep;
                    keep
                }
                TEMPORALITY if data.has_temporality() => {
                    once.see(field.number)?;
                    // The reference sees the lower half alone.
                    let temporality = i32::try_from(field.varint()?.cast_signed()).map_err(|_| Stop::Slow)?;
                    let defined = TEMPORALITIES.contains(&temporality);
                    if !defined {
                        self.tally.strip(Place::Number, StripReason::OutOfRange);
                    }
                    defined
                }
                sum::IS_MONOTONIC if data == Data::Sum => {
                    once.see(field.number)?;
                    true
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
}
