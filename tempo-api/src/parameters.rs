//! The parameters of a request. Unknown ones are ignored: clients send more of them with every version.

use crate::error::ApiError;

const NS_PER_S: u64 = 1_000_000_000;

/// The parameters, as they stand in the address.
pub struct Parameters(pub Vec<(String, String)>);

impl Parameters {
    /// The first value of a parameter; `None` for an empty one too.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| ApiError::Parameter(format!("{name} must be a whole number, not negative"))))
            .transpose()
    }

    /// A number from 1 to `max`.
    pub fn limit(&self, name: &str, default: usize, max: usize) -> Result<usize, ApiError> {
        match self.number(name)?.map(usize::try_from) {
            None => Ok(default),
            Some(Ok(n)) if (1..=max).contains(&n) => Ok(n),
            Some(_) => Err(ApiError::Parameter(format!("{name} must be from 1 to {max}"))),
        }
    }

    /// The time window of `start` and `end`, which are seconds since the Unix epoch, both included; all of time without them.
    pub fn window_ns(&self) -> Result<(u64, u64), ApiError> {
        let (start, end) = (self.number("start")?.unwrap_or(0), self.number("end")?.unwrap_or(0));
        match (start, end) {
            (start, 0) => Ok((start.saturating_mul(NS_PER_S), u64::MAX)),
            (start, end) if start < end => Ok((start.saturating_mul(NS_PER_S), end.saturating_mul(NS_PER_S))),
            _ => Err(ApiError::Parameter("start must be before end".to_owned())),
        }
    }
}
