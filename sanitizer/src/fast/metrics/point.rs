//! Data points of all five kinds. Whether a point stays follows from all of it; so it is read first, and what would have to change is noted on
//! the way. Lists of numbers are added up where they stand, however long they are, and nothing is kept of them.

use std::ops::Range;

use contract::{DropReason, Place, StripReason};
use wire::otlp::{
    exponential_histogram_data_point as exponential, histogram_data_point as histogram, number_data_point as number,
    summary_data_point as summary,
};
use wire::{Field, Fields, Message, Value, write};

use super::super::attributes::{Attribute, Rules, tag};
use super::super::span::count as count_of;
use super::super::tables::Keys;
use super::super::{Once, Part, Stop, Walk};
use super::inside::{self, Buckets, Exemplar, add, zigzag};
use super::{Data, FIELD_DEPTH};
use crate::reference::metrics::{MAX_BOUNDS, MAX_EXEMPLARS, MAX_QUANTILES, POINT_FLAGS, SCALES, is_count, is_value};
use crate::times::Times;

/// Around a point is the data besides what is around that.
const POINT_DEPTH: usize = FIELD_DEPTH + 1;
/// Around what is inside a point's field.
pub(super) const INSIDE_DEPTH: usize = POINT_DEPTH + 1;

/// What a field of a point is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Means {
    Attribute,
    Start,
    Time,
    Double,
    Int,
    Exemplar,
    Flags,
    Count,
    BucketCounts,
    Bounds,
    /// A number that a point can do without.
    Optional,
    /// A number that it cannot do without.
    Required,
    Scale,
    ZeroCount,
    /// The buckets of one side.
    Side,
    Quantile,
    Unknown,
}

impl Means {
    fn may_repeat(self) -> bool {
        matches!(self, Self::Attribute | Self::Exemplar | Self::BucketCounts | Self::Bounds | Self::Quantile | Self::Unknown)
    }
}

impl Data {
    /// What the field of a point of this number is.
    #[inline]
    fn means(self, field: u32) -> Means {
        match self {
            Self::Gauge | Self::Sum => match field {
                number::ATTRIBUTES => Means::Attribute,
                number::START_TIME_UNIX_NANO => Means::Start,
                number::TIME_UNIX_NANO => Means::Time,
                number::AS_DOUBLE => Means::Double,
                number::AS_INT => Means::Int,
                number::EXEMPLARS => Means::Exemplar,
                number::FLAGS => Means::Flags,
                _ => Means::Unknown,
            },
            Self::Histogram => match field {
                histogram::ATTRIBUTES => Means::Attribute,
                histogram::START_TIME_UNIX_NANO => Means::Start,
                histogram::TIME_UNIX_NANO => Means::Time,
                histogram::COUNT => Means::Count,
                histogram::BUCKET_COUNTS => Means::BucketCounts,
                histogram::EXPLICIT_BOUNDS => Means::Bounds,
                histogram::SUM | histogram::MIN | histogram::MAX => Means::Optional,
                histogram::EXEMPLARS => Means::Exemplar,
                histogram::FLAGS => Means::Flags,
                _ => Means::Unknown,
            },
            Self::Exponential => match field {
                exponential::ATTRIBUTES => Means::Attribute,
                exponential::START_TIME_UNIX_NANO => Means::Start,
                exponential::TIME_UNIX_NANO => Means::Time,
                exponential::COUNT => Means::Count,
                exponential::SCALE => Means::Scale,
                exponential::ZERO_COUNT => Means::ZeroCount,
                exponential::POSITIVE | exponential::NEGATIVE => Means::Side,
                exponential::ZERO_THRESHOLD => Means::Required,
                exponential::SUM | exponential::MIN | exponential::MAX => Means::Optional,
                exponential::EXEMPLARS => Means::Exemplar,
                exponential::FLAGS => Means::Flags,
                _ => Means::Unknown,
            },
            Self::Summary => match field {
                summary::ATTRIBUTES => Means::Attribute,
                summary::START_TIME_UNIX_NANO => Means::Start,
                summary::TIME_UNIX_NANO => Means::Time,
                summary::COUNT => Means::Count,
                summary::SUM => Means::Required,
                summary::QUANTILE_VALUES => Means::Quantile,
                summary::FLAGS => Means::Flags,
                _ => Means::Unknown,
            },
        }
    }

    /// The type of its points.
    fn point(self) -> &'static Message {
        match self {
            Self::Gauge | Self::Sum => &number::MESSAGE,
            Self::Histogram => &histogram::MESSAGE,
            Self::Exponential => &exponential::MESSAGE,
            Self::Summary => &summary::MESSAGE,
        }
    }

    /// Number of the field that attributes are in, and its tag.
    fn attributes(self) -> (u32, u8) {
        match self {
            Self::Gauge | Self::Sum => (number::ATTRIBUTES, const { tag(number::ATTRIBUTES, 2) }),
            Self::Histogram => (histogram::ATTRIBUTES, const { tag(histogram::ATTRIBUTES, 2) }),
            Self::Exponential => (exponential::ATTRIBUTES, const { tag(exponential::ATTRIBUTES, 2) }),
            Self::Summary => (summary::ATTRIBUTES, const { tag(summary::ATTRIBUTES, 2) }),
        }
    }
}

/// Something in a point, besides its attributes, that has to change if the point stays.
struct Edit {
    /// Where it stands in the whole message.
    range: Range<usize>,
    change: Change,
}

enum Change {
    /// It goes.
    Cut,
    /// These are left.
    Flags(u32),
    /// The first piece of a list: the whole list takes its place.
    List(u32),
    /// Each without what goes of it.
    Exemplar,
    Buckets,
    Quantile,
}

/// A list of numbers, which can stand in a point in several pieces.
#[derive(Default)]
struct List {
    numbers: usize,
    first: Option<Range<usize>>,
    /// Whether it stands in one piece, as every SDK writes it.
    is_odd: bool,
}

/// Fields that go if the point stays.
#[derive(Default)]
struct Strips {
    numbers: u64,
    exemplar_attributes: u64,
    invalid_exemplars: u64,
    exemplars_over_limit: u64,
    ids: u64,
}

/// What a point says, as far as it decides about it.
struct Point {
    start_unix_ns: u64,
    unix_ns: u64,
    flags: u32,
    /// Whether the value of a point of one number can be, if it has one.
    value: Option<bool>,
    count: u64,
    /// All buckets' counts added; none if that is more than any number.
    total: Option<u64>,
    counts: List,
    bounds: List,
    last_bound: f64,
    quantiles: usize,
    /// Exemplars that stay.
    exemplars: usize,
    /// Whether every number that the point cannot do without can be.
    is_valid: bool,
    strips: Strips,
    edits: Vec<Edit>,
}

impl Point {
    fn new() -> Self {
        Self {
            start_unix_ns: 0,
            unix_ns: 0,
            flags: 0,
            value: None,
            count: 0,
            total: Some(0),
            counts: List::default(),
            bounds: List::default(),
            last_bound: f64::NEG_INFINITY,
            quantiles: 0,
            exemplars: 0,
            is_valid: true,
            strips: Strips::default(),
            edits: Vec::new(),
        }
    }

    /// Notes a cut; neighbours become one, so that however many there are in a row, they need no memory.
    fn cut(&mut self, range: Range<usize>) {
        match self.edits.last_mut() {
            Some(Edit { range: last, change: Change::Cut }) if last.end == range.start => last.end = range.end,
            _ => self.edits.push(Edit { range, change: Change::Cut }),
        }
    }

    /// A field besides the attributes.
    fn read<'a>(&mut self, means: Means, part: Part<'a>, field: &Field<'a>, times: Times) -> Result<(), Stop> {
        let double = || field.fixed64().map(f64::from_bits);
        match means {
            Means::Start => self.start_unix_ns = field.fixed64()?,
            Means::Time => self.unix_ns = field.fixed64()?,
            Means::Double => self.value(is_value(double()?))?,
            Means::Int => self.value(is_count(field.fixed64()?.cast_signed()))?,
            Means::Count => self.count = field.fixed64()?,
            Means::ZeroCount => self.total = add(self.total, field.fixed64()?),
            Means::Required => self.is_valid &= is_value(double()?),
            Means::Scale => self.is_valid &= SCALES.contains(&zigzag(field.varint()?)?),
            Means::Optional => {
                if !is_value(double()?) {
                    self.strips.numbers += 1;
                    self.cut(part.place(field));
                }
            }
            Means::Flags => {
                self.flags = u32::try_from(count_of(field)?).map_err(|_| Stop::Slow)?;
                if self.flags & !POINT_FLAGS != 0 {
                    self.strips.numbers += 1;
                    self.edits.push(Edit { range: part.place(field), change: Change::Flags(self.flags & POINT_FLAGS) });
                }
            }
            Means::BucketCounts => {
                for count in wire::fixed64s(field)? {
                    self.counts.numbers += 1;
                    self.total = add(self.total, count);
                }
                if self.counts.is_another_piece(part.place(field), field) {
                    self.cut(part.place(field));
                }
            }
            Means::Bounds => {
                for bound in wire::fixed64s(field)?.map(f64::from_bits) {
                    self.bounds.numbers += 1;
                    self.is_valid &= is_value(bound) && self.last_bound < bound;
                    self.last_bound = bound;
                }
                if self.bounds.is_another_piece(part.place(field), field) {
                    self.cut(part.place(field));
                }
            }
            Means::Side => {
                let buckets = Buckets::read(field.bytes()?)?;
                self.is_valid &= buckets.is_valid;
                self.total = buckets.total.and_then(|total| add(self.total, total));
                if !buckets.is_exact {
                    self.edits.push(Edit { range: part.place(field), change: Change::Buckets });
                }
            }
            Means::Quantile => {
                let (is_valid, is_exact) = inside::quantile(field.bytes()?)?;
                self.is_valid &= is_valid;
                self.quantiles += 1;
                if self.quantiles > MAX_QUANTILES {
                    // The point goes, and whatever more it has needs no memory until then.
                    self.cut(part.place(field));
                } else if !is_exact {
                    self.edits.push(Edit { range: part.place(field), change: Change::Quantile });
                }
            }
            Means::Exemplar => self.exemplar(&Exemplar::read(field.bytes()?)?, part.place(field), times),
            Means::Unknown | Means::Attribute => self.cut(part.place(field)),
        }
        Ok(())
    }

    fn value(&mut self, can_be: bool) -> Result<(), Stop> {
        if self.value.replace(can_be).is_some() { Err(Stop::Slow) } else { Ok(()) }
    }

    fn exemplar(&mut self, exemplar: &Exemplar<'_>, range: Range<usize>, times: Times) {
        self.strips.exemplar_attributes += exemplar.attributes;
        if !exemplar.is_valid(times) {
            self.strips.invalid_exemplars += 1;
            self.cut(range);
        } else if self.exemplars == MAX_EXEMPLARS {
            self.strips.exemplars_over_limit += 1;
            self.cut(range);
        } else {
            self.exemplars += 1;
            self.strips.ids += exemplar.wrong_ids();
            if !exemplar.is_exact() {
                self.edits.push(Edit { range, change: Change::Exemplar });
            }
        }
    }

    /// Adds the edit of a list that is in several pieces, where its first one stands.
    fn settle(&mut self, list: List, number: u32) {
        if let Some(range) = list.first.filter(|_| list.is_odd) {
            let at = self.edits.partition_point(|edit| edit.range.start < range.start);
            self.edits.insert(at, Edit { range, change: Change::List(number) });
        }
    }

    fn judge(&self, data: Data, times: Times) -> Result<(), DropReason> {
        // The start may be unknown, which is 0.
        let is_in_time =
            times.contain(self.unix_ns) && times.contain_or_unknown(self.start_unix_ns) && self.start_unix_ns <= self.unix_ns;
        if !is_in_time {
            return Err(DropReason::InvalidTime);
        }
        let numbers_are_valid = match data {
            Data::Gauge | Data::Sum => self.value.unwrap_or(self.flags & POINT_FLAGS != 0),
            Data::Histogram => {
                let (counts, bounds) = (self.counts.numbers, self.bounds.numbers);
                // A histogram may have no buckets at all; otherwise there is one more than there are bounds between them.
                let is_empty = counts == 0 && bounds == 0;
                is_count(self.count)
                    && bounds <= MAX_BOUNDS
                    && (is_empty || (counts == bounds + 1 && self.total == Some(self.count)))
            }
            Data::Exponential => is_count(self.count) && self.total == Some(self.count),
            Data::Summary => is_count(self.count) && self.quantiles <= MAX_QUANTILES,
        };
        if self.is_valid && numbers_are_valid { Ok(()) } else { Err(DropReason::InvalidNumber) }
    }
}

impl List {
    /// Takes note of a piece; says whether there was one before.
    fn is_another_piece(&mut self, range: Range<usize>, field: &Field<'_>) -> bool {
        let is_another = self.first.is_some();
        self.is_odd |= is_another || !matches!(field.value, Value::Bytes(_));
        self.first.get_or_insert(range);
        is_another
    }
}

impl<'a> Walk<'a> {
    /// Whether the point stays.
    pub(super) fn point(&mut self, data: Data, part: Part<'a>, keys: &Keys) -> Result<bool, Stop> {
        let mut attributes = self.next_record();
        let mut point = self.read_point(data, part, &mut attributes)?;
        self.tally.parsed();
        let judged = point.judge(data, self.times);
        match judged {
            Ok(()) => {
                self.tally.accepted();
                let rules = Rules {
                    attributes: &attributes,
                    allowed: keys,
                    hidden: self.hidden(&attributes)?,
                    is_correction: false,
                    place: Place::DataPointAttribute,
                    field: data.attributes().0,
                };
                let (counts, bounds) = (std::mem::take(&mut point.counts), std::mem::take(&mut point.bounds));
                point.settle(counts, histogram::BUCKET_COUNTS);
                point.settle(bounds, histogram::EXPLICIT_BOUNDS);
                self.judge_point(part, &rules, point)?;
            }
            Err(reason) => {
                self.tally.dropped(reason);
                // Texts are checked when they are judged, and these are not.
                wire::validate(part.content, data.point(), POINT_DEPTH)?;
            }
        }
        self.attributes = attributes;
        Ok(judged.is_ok())
    }

    fn read_point(&mut self, data: Data, part: Part<'a>, attributes: &mut Vec<Attribute<'a>>) -> Result<Point, Stop> {
        let (mut once, mut point, mut fields) = (Once::default(), Point::new(), Fields::new(part.content));
        let (_, attribute_tag) = data.attributes();
        loop {
            while let Some((content, range)) = fields.take_short(attribute_tag) {
                self.read_attribute(content, INSIDE_DEPTH, part.at + range.start..part.at + range.end, attributes)?;
            }
            let Some(field) = fields.next() else { break };
            let field = field?;
            let means = data.means(field.number);
            if means == Means::Attribute {
                self.read_attribute(field.bytes()?, INSIDE_DEPTH, part.place(&field), attributes)?;
                continue;
            }
            if !means.may_repeat() {
                once.see(field.number)?;
            }
            point.read(means, part, &field, self.times)?;
        }
        Ok(point)
    }

    /// Notes the edits of a point that stays.
    fn judge_point(&mut self, part: Part<'a>, rules: &Rules<'a, '_>, point: Point) -> Result<(), Stop> {
        let Strips { numbers, exemplar_attributes, invalid_exemplars, exemplars_over_limit, ids } = point.strips;
        self.tally.strip_many(Place::Number, StripReason::OutOfRange, numbers);
        self.tally.strip_many(Place::Exemplar, StripReason::NotAllowed, exemplar_attributes);
        self.tally.strip_many(Place::Exemplar, StripReason::OutOfRange, invalid_exemplars);
        self.tally.strip_many(Place::Exemplar, StripReason::TooLong, exemplars_over_limit);
        self.tally.strip_many(Place::TraceContext, StripReason::NotAllowed, ids);

        let frame = self.splice.open(part.range());
        let mut edits = point.edits.into_iter().peekable();
        for attribute in rules.attributes {
            while let Some(edit) = edits.next_if(|edit| edit.range.start < attribute.start) {
                self.edit_point(part, edit)?;
            }
            self.attribute(attribute, rules)?;
        }
        for edit in edits {
            self.edit_point(part, edit)?;
        }
        self.splice.close(frame);
        Ok(())
    }

    fn edit_point(&mut self, part: Part<'a>, edit: Edit) -> Result<(), Stop> {
        let Edit { range, change } = edit;
        self.may_have_undefined = true;
        let flags = match change {
            Change::Cut => {
                self.splice.cut(range);
                return Ok(());
            }
            Change::List(number) => {
                self.splice.replace(range, |out| inside::write_list(part.content, number, out));
                return Ok(());
            }
            Change::Flags(flags) => Some(flags),
            Change::Exemplar | Change::Buckets | Change::Quantile => None,
        };
        let Some(field) = Fields::new(&self.message[range.clone()]).only() else { return Err(Stop::Slow) };
        if let Some(flags) = flags {
            self.splice.replace(range, |out| write::varint_field(out, field.number, flags.into()));
            return Ok(());
        }
        let (given, mut content) = (field.bytes()?, Vec::new());
        match change {
            Change::Exemplar => Exemplar::read(given)?.write(&mut content),
            Change::Buckets => Buckets::write(given, &mut content),
            _ => inside::write_quantile(given, &mut content),
        }
        self.splice.replace(range, |out| write::bytes_field(out, field.number, &content));
        Ok(())
    }
}
