//! Reads a scrape in Prometheus' or OpenMetrics' text format, and checks from it that nothing was lost without being counted.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads a scrape. Comments, timestamps and exemplars are passed over.
    ///
    /// # Panics
    /// On a line that is neither a comment nor a sample.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect() }
    }

    /// The sum of a metric's samples that carry these labels. 0 if there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let carries = |s: &&Sample| labels.iter().all(|(key, value)| s.labels.get(*key).is_some_and(|v| v == value));
        // `0.0 +`: the sum of nothing is -0 in Rust.
        0.0 + self.samples.iter().filter(|s| s.name == name).filter(carries).map(|s| s.value).sum::<f64>()
    }

    /// [`Scrape::sum`] of a metric that counts.
    ///
    /// # Panics
    /// If the sum is not a whole number.
    #[must_use]
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let sum = self.sum(name, labels);
        sum.to_string().parse().unwrap_or_else(|_| panic!("{name} is {sum}"))
    }

    /// The values of a label in a metric's samples.
    #[must_use]
    pub fn label_values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        self.samples.iter().filter(|s| s.name == name).filter_map(|s| s.labels.get(label)).map(String::as_str).collect()
    }

    /// Checks that nothing was lost without being counted: messages received = refused + parsed + in progress; for every signal, records
    /// parsed = dropped + accepted; for every signal and branch, accepted = delivered + dropped + queued.
    ///
    /// # Errors
    /// The equations that do not hold, with their numbers.
    pub fn conservation(&self) -> Result<(), String> {
        let total = |name: &str| self.sum(name, &[]);
        let mut equations = vec![(
            "received messages = refused + parsed + in progress".to_owned(),
            total("pooler_otel_received_messages_total"),
            vec![
                total("pooler_otel_refused_messages_total"),
                total("pooler_otel_parsed_messages_total"),
                total("pooler_otel_messages_in_progress"),
            ],
        )];
        for signal in self.label_values("pooler_otel_parsed_records_total", "signal") {
            let of = |name: &str| self.sum(name, &[("signal", signal)]);
            equations.push((
                format!("{signal}: parsed = dropped + accepted"),
                of("pooler_otel_parsed_records_total"),
                vec![of("pooler_otel_dropped_records_total"), of("pooler_otel_accepted_records_total")],
            ));
            for branch in self.label_values("pooler_otel_branch_accepted_records_total", "branch") {
                let of = |name: &str| self.sum(name, &[("signal", signal), ("branch", branch)]);
                equations.push((
                    format!("{signal} to {branch}: accepted = delivered + dropped + queued"),
                    of("pooler_otel_branch_accepted_records_total"),
                    vec![
                        of("pooler_otel_branch_delivered_records_total"),
                        of("pooler_otel_branch_dropped_records_total"),
                        of("pooler_otel_branch_queued_records"),
                    ],
                ));
            }
        }
        let broken: Vec<String> = equations
            .iter()
            // Counts are whole numbers far below 2^53, so they compare exactly.
            .filter(|(_, left, right)| (left - right.iter().sum::<f64>()).abs() > 0.0)
            .map(|(equation, left, right)| format!("{equation}: {left} is not the sum of {right:?}"))
            .collect();
        if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
    }
}

fn sample(line: &str) -> Option<Sample> {
    let name_end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(key.to_owned(), value);
            rest = after;
        }
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// A label's value up to its closing quote, and what comes after it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a scrape is read as the OpenMetrics specification writes it: escapes, exemplars, timestamps, no labels.
    #[test]
    fn a_scrape_is_read() {
        let scrape = Scrape::parse(
            "# HELP a_total Text.\n# TYPE a counter\na_total{x=\"1\",path=\"C:\\\\DIR\\\"\\n}\"} 3 1520430000.123\na_total{x=\"2\"} 4.5e0\n\
             b 1\nfoo_bucket{le=\"0.1\"} 8 # {trace_id=\"KOO5S4vxi0o\"} 0.67\nfoo_bucket{le=\"+Inf\"} 17 # {} 0.5 1520879607.789\n# EOF\n",
        );
        assert!((scrape.sum("a_total", &[]) - 7.5).abs() < 1e-9);
        assert_eq!(scrape.count("a_total", &[("path", "C:\\DIR\"\n}")]), 3);
        assert_eq!(scrape.count("b", &[]), 1);
        assert_eq!(scrape.count("foo_bucket", &[("le", "+Inf")]), 17);
        assert_eq!(scrape.label_values("a_total", "x"), BTreeSet::from(["1", "2"]));
        assert_eq!(scrape.count("a", &[]), 0);
    }

    /// Guarantees: the check holds for a balanced account, and names each equation that does not hold, also where two signals make up for
    /// each other.
    #[test]
    fn a_loss_is_seen() {
        let account = |queued: u32, refused: u32, parsed: u32, parsed_logs: u32| {
            Scrape::parse(&format!(
                "pooler_otel_received_messages_total{{protocol=\"grpc\"}} 3\npooler_otel_received_messages_total{{protocol=\"http_json\"}} 2\n\
                 pooler_otel_refused_messages_total{{reason=\"malformed\"}} {refused}\npooler_otel_parsed_messages_total 4\n\
                 pooler_otel_parsed_records_total{{signal=\"traces\"}} {parsed}\npooler_otel_parsed_records_total{{signal=\"logs\"}} {parsed_logs}\n\
                 pooler_otel_dropped_records_total{{signal=\"traces\",reason=\"invalid_id\"}} 2\n\
                 pooler_otel_dropped_records_total{{signal=\"logs\",reason=\"no_destination\"}} 5\n\
                 pooler_otel_accepted_records_total{{signal=\"traces\"}} 8\n\
                 pooler_otel_branch_accepted_records_total{{signal=\"traces\",branch=\"forward\"}} 8\n\
                 pooler_otel_branch_delivered_records_total{{signal=\"traces\",branch=\"forward\"}} 4\n\
                 pooler_otel_branch_dropped_records_total{{signal=\"traces\",branch=\"forward\",reason=\"rejected\"}} 1\n\
                 pooler_otel_branch_queued_records{{signal=\"traces\",branch=\"forward\"}} {queued}\n"
            ))
        };
        assert_eq!(account(3, 1, 10, 5).conservation(), Ok(()));
        assert!(account(2, 1, 10, 5).conservation().unwrap_err().contains("traces to forward"));
        assert!(account(3, 0, 10, 5).conservation().unwrap_err().contains("messages"));
        assert!(account(3, 1, 11, 5).conservation().unwrap_err().contains("traces: parsed"));
        assert!(account(3, 1, 11, 4).conservation().unwrap_err().contains("logs: parsed"));
    }
}
