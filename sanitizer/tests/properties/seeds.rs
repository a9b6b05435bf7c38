//! The seeds of the fuzz targets, in `fuzz/seeds`: what the generators here make, small and of every kind, so that a fuzzer starts where
//! messages are interesting. They are committed; `cargo test -p codex-pooler-sanitizer --test properties -- --ignored` writes them anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

use super::*;

/// Longest seed, in bytes: a fuzzer gets further with small ones.
const MAX_BYTES: usize = 1_500;
/// Seeds of each kind.
const OF_EACH: usize = 10;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target)
}

/// Some messages for every answer of `check` by the contract, always the same.
fn messages<S: Strategy<Value = Vec<u8>>>(given: &S, check: impl Fn(&Policy, &[u8]) -> Said) -> Vec<Vec<u8>> {
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let mut found: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
    for _ in 0..4_000 {
        let message = given.new_tree(&mut runner).unwrap().current();
        let said = check(&Policy::contract(), &message);
        let of_kind = found.entry(said as usize).or_default();
        // What is rewritten has something in it that has to go.
        let is_telling = said != Said::Rewritten || holds::has_marker(&message);
        if of_kind.len() < OF_EACH && is_telling && (100..MAX_BYTES).contains(&message.len()) {
            of_kind.push(message);
        }
    }
    found.into_values().flatten().collect()
}

/// The message with the planted text in place of every second of its texts; records keep the names without which they would go as a whole.
fn planted<R: serde::Serialize + serde::de::DeserializeOwned>(request: &R) -> Option<R> {
    fn plant(key: &str, value: &mut serde_json::Value, texts: &mut usize) {
        match value {
            serde_json::Value::Object(object) => object.iter_mut().for_each(|(key, value)| plant(key, value, texts)),
            serde_json::Value::Array(list) => list.iter_mut().for_each(|value| plant(key, value, texts)),
            // Numbers and bytes can be texts in JSON.
            serde_json::Value::String(text)
                if !["name", "eventName", "bytesValue"].contains(&key)
                    && !key.ends_with("Id")
                    && text.parse::<f64>().is_err() =>
            {
                *texts += 1;
                if texts.is_multiple_of(2) {
                    plain::MARKER.clone_into(text);
                }
            }
            _ => {}
        }
    }
    let mut json = serde_json::to_value(request).ok()?;
    plant("", &mut json, &mut 0);
    serde_json::from_value(json).ok()
}

/// Any message of a signal, with more planted texts or without.
fn encoded<R: prost::Message + serde::Serialize + serde::de::DeserializeOwned>(
    given: impl Strategy<Value = R>,
) -> impl Strategy<Value = Vec<u8>> {
    (given, any::<bool>()).prop_map(|(request, plants)| match planted(&request) {
        Some(planted) if plants => planted.encode_to_vec(),
        _ => request.encode_to_vec(),
    })
}

fn write(target: &str, seeds: &[Vec<u8>]) {
    let folder = folder(target);
    std::fs::create_dir_all(&folder).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(folder.join(format!("{number:02}")), seed).unwrap();
    }
}

/// Writes the seeds.
#[test]
#[ignore = "changes files"]
fn write_seeds() {
    let whole = encoded(generate::request());
    let apart = (generate::request(), any::<u64>()).prop_map(|(request, seed)| apart::fields(&request.encode_to_vec(), seed, 12));
    let mut traces = messages(&prop_oneof![whole, apart], holds::of_traces);
    traces.push(generate::row().encode_to_vec());
    write("traces", &traces);
    // What goes before the message says what to cut.
    let walked: Vec<_> = traces.iter().map(|message| [&[7; 8], &message[..]].concat()).collect();
    write("wire", &walked);
    write("logs", &messages(&encoded(records::logs()), holds::of_logs));
    let whole = encoded(records::metrics());
    let of_metrics = &otlp::export_metrics_service_request::MESSAGE;
    let apart = (records::metrics(), any::<u64>())
        .prop_map(|(request, seed)| apart::fields_of(&request.encode_to_vec(), of_metrics, seed, 12));
    write("metrics", &messages(&prop_oneof![whole, apart], holds::of_metrics));
    // The first byte says the signal.
    let json = prop_oneof![
        generate::request().prop_map(|request| (b'0', serde_json::to_vec(&request).unwrap())),
        records::logs().prop_map(|request| (b'1', serde_json::to_vec(&request).unwrap())),
        records::metrics().prop_map(|request| (b'2', serde_json::to_vec(&request).unwrap())),
    ];
    let json = json.prop_map(|(signal, text)| [vec![signal], text].concat());
    write("json", &messages(&json, |policy, text| holds::of_json::<ExportTraceServiceRequest>(policy, &text[1..])));
}

/// Guarantees: the seeds are there, and what must hold holds for each of them by every policy; a fuzzer starts from messages that are taken.
#[test]
fn seeds_hold() {
    type Check = fn(&Policy, &[u8]) -> Said;
    let json: Check = |policy, text| match text.split_first() {
        Some((b'0', text)) => holds::of_json::<ExportTraceServiceRequest>(policy, text),
        Some((b'1', text)) => holds::of_json::<ExportLogsServiceRequest>(policy, text),
        Some((b'2', text)) => holds::of_json::<ExportMetricsServiceRequest>(policy, text),
        _ => panic!("a seed that no signal has"),
    };
    let targets: [(&str, Check); 4] =
        [("traces", holds::of_traces), ("logs", holds::of_logs), ("metrics", holds::of_metrics), ("json", json)];
    for (target, check) in targets {
        let mut said = Vec::new();
        for file in std::fs::read_dir(folder(target)).unwrap() {
            let seed = std::fs::read(file.unwrap().path()).unwrap();
            said.extend(POLICIES.iter().map(|policy| check(policy, &seed)));
        }
        // Which ones are clean may change with the contract; that the fuzzer has something to do may not.
        assert!(said.contains(&Said::Rewritten), "{target}: {said:?}");
    }
}
