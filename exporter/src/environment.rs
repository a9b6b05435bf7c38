//! The `OTEL_*` variables, read as OpenTelemetry's specification says: an empty one counts as not set, and so does one that cannot be meant,
//! with a warning.

use std::cell::RefCell;
use std::fmt;

/// A variable that was not taken into account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ignored {
    name: String,
    expected: &'static str,
}

/// Repeats nothing of the value, which can be a secret in the wrong place.
impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the environment variable {} is ignored, because its value cannot be used: set it to {}",
            self.name, self.expected
        )
    }
}

/// Looks variables up, and notes which ones it ignores.
pub(crate) struct Environment<'a> {
    look_up: &'a dyn Fn(&str) -> Option<String>,
    ignored: RefCell<Vec<Ignored>>,
}

impl<'a> Environment<'a> {
    pub(crate) fn new(look_up: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { look_up, ignored: RefCell::default() }
    }

    /// The variable's value, if it is set and can be used.
    pub(crate) fn value<T>(&self, name: &str, expected: &'static str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let text = (self.look_up)(name)?;
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        let value = parse(text);
        if value.is_none() {
            self.ignored.borrow_mut().push(Ignored { name: name.to_owned(), expected });
        }
        value
    }

    /// As [`Self::value`], of a variable of the OTLP exporter: in its form for traces, else in its general form.
    pub(crate) fn of_traces<T>(&self, name: &str, expected: &'static str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.value(&format!("OTEL_EXPORTER_OTLP_TRACES_{name}"), expected, &parse)
            .or_else(|| self.value(&format!("OTEL_EXPORTER_OTLP_{name}"), expected, &parse))
    }

    /// Whether it switches everything off.
    pub(crate) fn disabled(&self) -> bool {
        let exporter = |text: &str| {
            let names: Vec<_> = text.split(',').map(str::trim).collect();
            if names.contains(&"otlp") { Some(true) } else { (names == ["none"]).then_some(false) }
        };
        self.value("OTEL_SDK_DISABLED", "true or false", boolean) == Some(true)
            || self.value("OTEL_TRACES_EXPORTER", "otlp or none, which are what this exporter knows", exporter) == Some(false)
    }

    pub(crate) fn ignored(self) -> Vec<Ignored> {
        self.ignored.into_inner()
    }
}

/// True or false, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}
