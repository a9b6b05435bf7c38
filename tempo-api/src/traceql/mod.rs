//! The part of TraceQL that the request log needs: one filter, `select`, and hints.
//!
//! Where the language leaves room, this follows what Tempo does: regular expressions match whole values, a missing attribute matches no
//! comparison but `= nil`, a literal must have the attribute's own type, and `&&` and `||` bind equally and group from the left.

mod lexer;
mod parser;
mod pattern;
mod value;

#[cfg(test)]
mod tests;

pub use parser::{SyntaxError, field, query};
pub use pattern::Pattern;
pub use value::{SpanContext, TraceContext, Value, duration_ns, hex};

/// A parsed query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Which spans.
    pub filter: Expr,
    /// What to show of them, besides what the filter names.
    pub select: Vec<Field>,
}

impl Query {
    /// The query that every span matches.
    #[must_use]
    pub const fn everything() -> Self {
        Self { filter: Expr::Constant(true), select: Vec::new() }
    }

    /// The fields that the answer shows: those of the filter and the selected ones, each once.
    #[must_use]
    pub fn shown(&self) -> Vec<&Field> {
        let mut fields = Vec::new();
        self.filter.fields(&mut fields);
        fields.extend(&self.select);
        let mut once: Vec<&Field> = Vec::new();
        for field in fields {
            if !once.contains(&field) {
                once.push(field);
            }
        }
        once
    }
}

/// A condition on a span.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// True or false for every span.
    Constant(bool),
    /// A field against a literal.
    Compare(Comparison),
    /// Both.
    And(Box<Self>, Box<Self>),
    /// At least one.
    Or(Box<Self>, Box<Self>),
}

impl Expr {
    /// Whether a span fulfils the condition.
    #[must_use]
    pub fn matches(&self, span: &SpanContext<'_>) -> bool {
        match self {
            Self::Constant(constant) => *constant,
            Self::Compare(comparison) => comparison.matches(&span.value(&comparison.field)),
            Self::And(left, right) => left.matches(span) && right.matches(span),
            Self::Or(left, right) => left.matches(span) || right.matches(span),
        }
    }

    /// The comparisons that must all hold for the condition to hold. There may be others.
    #[must_use]
    pub fn required(&self) -> Vec<&Comparison> {
        match self {
            Self::Compare(comparison) => vec![comparison],
            Self::And(left, right) => [left.required(), right.required()].concat(),
            Self::Constant(_) | Self::Or(..) => Vec::new(),
        }
    }

    fn fields<'a>(&'a self, into: &mut Vec<&'a Field>) {
        match self {
            Self::Constant(_) => {}
            Self::Compare(comparison) => into.push(&comparison.field),
            Self::And(left, right) | Self::Or(left, right) => {
                left.fields(into);
                right.fields(into);
            }
        }
    }
}

/// A field, an operator and a literal.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What is compared.
    pub field: Field,
    /// With what, and how.
    pub test: Test,
}

impl Comparison {
    /// Whether a field with these values fulfils it: none for a missing one, several for a list.
    #[must_use]
    pub fn matches(&self, values: &[Value<'_>]) -> bool {
        match &self.test {
            Test::Missing => values.is_empty(),
            Test::Present => !values.is_empty(),
            // Of a list, every item must differ; for the other operators one that fits is enough.
            Test::Not(test) => !values.is_empty() && values.iter().all(|value| test.comparable(value) && !test.matches(value)),
            Test::Is(test) => values.iter().any(|value| test.matches(value)),
        }
    }
}

/// What a comparison asks of the field.
#[derive(Clone, Debug, PartialEq)]
pub enum Test {
    /// `= nil`
    Missing,
    /// `!= nil`
    Present,
    /// `=`, `=~`, and the operators of order.
    Is(ValueTest),
    /// `!=` and `!~`
    Not(ValueTest),
}

/// What a comparison asks of one value.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueTest {
    /// The same as the literal.
    Equal(Literal),
    /// Less, less or equal, greater, or greater or equal.
    Order(Order, Literal),
    /// The whole text matches.
    Matches(Pattern),
}

impl ValueTest {
    /// Whether value and literal have a common type. If not, no comparison of them is true.
    fn comparable(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Equal(literal) | Self::Order(_, literal) => value.compare(literal).is_some(),
            Self::Matches(_) => matches!(value, Value::Text(_)),
        }
    }

    fn matches(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Equal(literal) => value.compare(literal).is_some_and(std::cmp::Ordering::is_eq),
            Self::Order(order, literal) => value.compare(literal).is_some_and(|ordering| order.allows(ordering)),
            Self::Matches(pattern) => matches!(value, Value::Text(text) if pattern.is_match(text)),
        }
    }
}

/// An operator of order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Order {
    const fn allows(self, ordering: std::cmp::Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }

    /// The operator that says the same with the sides changed.
    const fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `"text"` or `` `text` ``
    Text(String),
    /// `42`
    Int(i64),
    /// `0.5`
    Float(f64),
    /// `1m30s`, in nanoseconds.
    Duration(i64),
    /// `true` or `false`
    Bool(bool),
    /// `unset`, `ok` or `error`, as OTLP numbers them.
    Status(i32),
    /// `server` and so on, as OTLP numbers them.
    Kind(i32),
}

/// Names of span statuses in the order of OTLP's numbers.
pub const STATUSES: [&str; 3] = ["unset", "ok", "error"];
/// Names of span kinds in the order of OTLP's numbers.
pub const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];

/// What can be compared and selected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// An attribute.
    Attribute(Scope, String),
    /// Something that every span or trace has.
    Intrinsic(Intrinsic),
}

/// Where an attribute is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `span.`
    Span,
    /// `resource.`
    Resource,
    /// `.`: in the span, then in its resource.
    Any,
}

/// Declares the intrinsics with their names. The first name is the one under which the answer shows the value.
macro_rules! intrinsics {
    ($($(#[$doc:meta])* $variant:ident = [$($name:literal),+];)+) => {
        /// Something that every span or trace has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Intrinsic { $($(#[$doc])* $variant,)+ }

        impl Intrinsic {
            /// Every name of every intrinsic.
            pub const NAMES: &'static [&'static str] = &[$($($name,)+)+];

            /// The intrinsic with this name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($($name)|+ => Some(Self::$variant),)+ _ => None }
            }

            /// Its names.
            #[must_use]
            pub const fn names(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($name),+],)+ }
            }
        }
    };
}

intrinsics! {
    /// Name of the span.
    Name = ["name", "span:name"];
    /// Kind of the span.
    Kind = ["kind", "span:kind"];
    /// Status of the span.
    Status = ["status", "span:status"];
    /// Status message of the span, which is always empty here.
    StatusMessage = ["statusMessage", "span:statusMessage"];
    /// Duration of the span.
    Duration = ["duration", "span:duration"];
    /// Id of the span in hexadecimal.
    SpanId = ["span:id"];
    /// Id of the parent span in hexadecimal, empty for a root.
    ParentId = ["span:parentID"];
    /// Id of the trace in hexadecimal.
    TraceId = ["trace:id"];
    /// Duration of the trace.
    TraceDuration = ["traceDuration", "trace:duration"];
    /// Name of the trace's root span.
    RootName = ["rootName", "trace:rootName"];
    /// Service of the trace's root span.
    RootServiceName = ["rootServiceName", "trace:rootService"];
}
