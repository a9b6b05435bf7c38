//! What the environment, and settings that contradict it, come to.

use std::collections::BTreeSet;

use super::*;
use crate::exporter::Exporter;

#[allow(clippy::needless_pass_by_value, reason = "the tests build it on the spot")]
fn resolve(builder: Builder, variables: &[(&str, &str)]) -> Result<Config, BuildError> {
    let variables: std::collections::HashMap<_, _> = variables.iter().copied().collect();
    let look_up = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let environment = Environment::new(&look_up);
    let config = Config::resolve(&builder, &environment);
    assert!(environment.ignored().is_empty());
    config
}

/// The configuration, and what is said about variables that are ignored.
fn with_warnings(variables: &[(&str, &str)]) -> (Config, Vec<String>) {
    let look_up = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
    let environment = Environment::new(&look_up);
    let config = Config::resolve(&Exporter::builder(), &environment).unwrap();
    (config, environment.ignored().iter().map(ToString::to_string).collect())
}

fn resource_of(config: &Config, key: &'static str) -> Option<String> {
    config.resource.get(&opentelemetry::Key::new(key)).map(|value| value.to_string())
}

/// Guarantees: without anything, the defaults of the OTLP specification.
#[test]
fn defaults() {
    let config = resolve(Exporter::builder(), &[]).unwrap();
    assert_eq!((config.protocol, config.url.as_str()), (Protocol::Grpc, "http://localhost:4317/"));
    assert_eq!((config.timeout, config.compression), (Duration::from_secs(10), Compression::None));
    assert_eq!(resource_of(&config, "service.name").as_deref(), Some("codex-pooler"));
    let config = resolve(Exporter::builder().protocol(Protocol::HttpProtobuf), &[]).unwrap();
    assert_eq!(config.url.as_str(), "http://localhost:4318/v1/traces");
}

/// Guarantees: a row waits 30 s for its settlement and a marker is sent every 15 s, unless the program says less; it cannot say that a row waits
/// longer.
#[test]
fn rows_wait_thirty_seconds() {
    let times =
        |builder| resolve(builder, &[]).map(|config| (config.settlement_hold.as_secs(), config.heartbeat.as_secs())).unwrap();
    assert_eq!(times(Exporter::builder()), (30, 15));
    assert_eq!(times(Exporter::builder().settlement_hold(Duration::from_secs(1)).heartbeat(Duration::from_secs(5))), (1, 5));
    assert_eq!(times(Exporter::builder().settlement_hold(Duration::from_secs(60))), (30, 15));
}

/// Guarantees: every variable counts, its form for traces before its general one, and the builder before both.
#[test]
fn variables_and_their_order() {
    let general = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://otlp.example:4318/base/"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "X-Tenant=a%2Cb, authorization=Bearer%20abc=="),
        ("OTEL_SERVICE_NAME", "pooler-7"),
    ];
    let config = resolve(Exporter::builder(), &general).unwrap();
    assert_eq!((config.protocol, config.compression), (Protocol::HttpProtobuf, Compression::Gzip));
    assert_eq!(config.url.as_str(), "https://otlp.example:4318/base/v1/traces");
    assert_eq!(config.timeout, Duration::from_millis(2500));
    assert_eq!(
        (&config.headers.0["x-tenant"], &config.headers.0["authorization"]),
        (&"a,b".parse().unwrap(), &"Bearer abc==".parse().unwrap())
    );
    assert_eq!(resource_of(&config, "service.name").as_deref(), Some("pooler-7"));

    let traces = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces.example/as/it/is"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "1000"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-tenant=c"),
    ];
    let both = [&general[..], &traces].concat();
    let config = resolve(Exporter::builder(), &both).unwrap();
    assert_eq!((config.url.as_str(), config.compression), ("http://traces.example/as/it/is", Compression::None));
    assert_eq!((config.timeout, config.headers.0.len()), (Duration::from_secs(1), 1));

    let builder = Exporter::builder()
        .endpoint("http://here.example:1/")
        .protocol(Protocol::Grpc)
        .timeout(Duration::from_secs(3))
        .compression(Compression::Gzip)
        .header("x-tenant", "d")
        .service_name("mine");
    let config = resolve(builder, &both).unwrap();
    assert_eq!((config.url.as_str(), config.protocol), ("http://here.example:1/", Protocol::Grpc));
    assert_eq!((config.timeout, config.compression), (Duration::from_secs(3), Compression::Gzip));
    assert_eq!(config.headers.0["x-tenant"], "d");
    assert_eq!(resource_of(&config, "service.name").as_deref(), Some("mine"));
}

/// Guarantees: `OTEL_RESOURCE_ATTRIBUTES` gets in what the contract allows, and nothing of host, user or path; nor can it say what made the spans.
#[test]
fn resource_attributes_pass_the_allowlist() {
    let text = "deployment.environment.name=prod,service.namespace=gateways,host.name=alice-laptop,process.command_args=--key%20x,\
        service.version=0.6.8,telemetry.sdk.name=evil,service.instance.id=not-a-uuid,service.name=from-list";
    let config = resolve(Exporter::builder(), &[("OTEL_RESOURCE_ATTRIBUTES", text)]).unwrap();
    let mut keys: Vec<_> = config.resource.iter().map(|(key, _)| key.as_str().to_owned()).collect();
    keys.sort();
    assert_eq!(keys, contract::generated::RESOURCE_ATTRIBUTES);
    for (key, expected) in [
        ("deployment.environment.name", "prod"),
        ("service.namespace", "gateways"),
        ("service.version", "0.6.8"),
        ("service.name", "from-list"),
        ("telemetry.sdk.name", "opentelemetry"),
    ] {
        assert_eq!(resource_of(&config, key).as_deref(), Some(expected), "{key}");
    }
    assert!(Uuid::parse_str(&resource_of(&config, "service.instance.id").unwrap()).is_ok());
    let named = [("OTEL_RESOURCE_ATTRIBUTES", text), ("OTEL_SERVICE_NAME", "named")];
    assert_eq!(resource_of(&resolve(Exporter::builder(), &named).unwrap(), "service.name").as_deref(), Some("named"));
}

/// Guarantees: a variable that cannot be meant is ignored, as the specification says of every kind of value: what holds is its general form or
/// the default, and one warning names the variable and repeats none of the value.
#[test]
fn bad_variables_are_ignored() {
    let (default, none) = with_warnings(&[]);
    assert!(none.is_empty());
    let shown = |config: &Config| {
        let Config { protocol, url, headers, timeout, compression, resource, retry_for, bounds, .. } = config;
        let name = resource.get(&opentelemetry::Key::new("service.name")).map(|name| name.to_string());
        format!("{protocol:?} {url} {headers:?} {timeout:?} {compression:?} {name:?} {retry_for:?} {bounds:?}")
    };
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/hunter2"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "300001"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2%zz=x%zz"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=hunter2%0Ay"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=hunter2,Content-Length=5"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://hunter2@example"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://hunter2:99999999"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "hunter2"),
        ("OTEL_SERVICE_NAME", "Hunter2 hunter2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=x,hunter2"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "-1"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "hunter2"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "0"),
    ] {
        let (config, warnings) = with_warnings(&[(name, value)]);
        assert_eq!(shown(&config), shown(&default), "{name}={value}");
        let [warning] = warnings.as_slice() else { panic!("{name}={value}: {warnings:?}") };
        assert!(warning.contains(name) && !warning.contains("unter2"), "{warning}");
    }
    let both = [("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "soon"), ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500")];
    let (config, warnings) = with_warnings(&both);
    assert_eq!((config.timeout, warnings.len()), (Duration::from_millis(2500), 1));
    // Blank is the same as not set.
    let (config, warnings) = with_warnings(&[("OTEL_EXPORTER_OTLP_TIMEOUT", " "), ("OTEL_SERVICE_NAME", "")]);
    assert_eq!((shown(&config), warnings.len()), (shown(&default), 0));
}

/// Guarantees: what is wrong in the program itself is an error, in words that repeat none of it.
#[test]
fn bad_settings_are_refused() {
    for (builder, expected) in [
        (Exporter::builder().endpoint("ftp://hunter2@example"), "endpoint"),
        (Exporter::builder().endpoint("hunter2:4318").protocol(Protocol::HttpProtobuf), "endpoint"),
        (Exporter::builder().header("x", "hunter2\ny"), "headers"),
        (Exporter::builder().header("Grpc-Encoding", "hunter2"), "headers"),
        (Exporter::builder().timeout(Duration::ZERO), "timeout"),
        (Exporter::builder().service_name("Hunter2"), "service name"),
    ] {
        let Err(error) = resolve(builder, &[]) else { panic!("{expected}") };
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("unter2"), "{text}");
    }
}

/// Guarantees: `OTEL_SDK_DISABLED` and `OTEL_TRACES_EXPORTER` switch off what they should, and only in the specified words; an exporter that
/// is not there is a warning, and OTLP stays.
#[test]
fn switched_off() {
    for (name, value, off, warnings) in [
        ("OTEL_SDK_DISABLED", "true", true, 0),
        ("OTEL_SDK_DISABLED", "TRUE", true, 0),
        ("OTEL_SDK_DISABLED", "false", false, 0),
        ("OTEL_SDK_DISABLED", "1", false, 1),
        ("OTEL_TRACES_EXPORTER", "none", true, 0),
        ("OTEL_TRACES_EXPORTER", "otlp", false, 0),
        ("OTEL_TRACES_EXPORTER", "console, otlp", false, 0),
        ("OTEL_TRACES_EXPORTER", "zipkin", false, 1),
        ("OTEL_TRACES_EXPORTER", "", false, 0),
    ] {
        let look_up = |asked: &str| (asked == name).then(|| value.to_owned());
        let environment = Environment::new(&look_up);
        assert_eq!(environment.disabled(), off, "{name}={value}");
        assert_eq!(environment.ignored().len(), warnings, "{name}={value}");
    }
}

/// Guarantees: the variables of the SDK's batch processor bound the queue that does its work.
#[test]
fn the_queue_is_bounded_by_variables() {
    let config = resolve(
        Exporter::builder(),
        &[("OTEL_BSP_MAX_QUEUE_SIZE", "256"), ("OTEL_BSP_SCHEDULE_DELAY", "1000"), ("OTEL_BSP_EXPORT_TIMEOUT", "30000")],
    )
    .unwrap();
    // A message has no more spans than the queue.
    assert_eq!((config.bounds.max_queued, config.bounds.max_batch), (256, 256));
    assert_eq!((config.bounds.linger, config.retry_for), (Duration::from_secs(1), Duration::from_secs(30)));
    let config = resolve(Exporter::builder(), &[("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100")]).unwrap();
    assert_eq!((config.bounds.max_queued, config.bounds.max_batch), (8192, 100));
}

/// Guarantees: a gRPC endpoint may be a host and a port; it has TLS unless that is switched off, and a scheme says more than the switch.
#[test]
fn endpoints_without_a_scheme() {
    let url = |endpoint: &str, insecure: &str| {
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_EXPORTER_OTLP_INSECURE", insecure)];
        resolve(Exporter::builder(), &variables).unwrap().url.to_string()
    };
    assert_eq!(url("otlp.example:4317", "false"), "https://otlp.example:4317/");
    assert_eq!(url("otlp.example:4317", "TRUE"), "http://otlp.example:4317/");
    assert_eq!(url("https://otlp.example:4317", "true"), "https://otlp.example:4317/");
    assert_eq!(url("http://otlp.example:4317", "false"), "http://otlp.example:4317/");
}

/// Guarantees: a file of certificates that cannot be read, or half of a client's identity, is an error: trusting others instead is no default.
#[test]
fn certificates_are_files() {
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    for variables in [
        &[("OTEL_EXPORTER_OTLP_CERTIFICATE", "/hunter2/is/not/there")][..],
        &[("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", here)],
        &[("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", here)],
    ] {
        let Err(error) = resolve(Exporter::builder(), variables) else { panic!("{variables:?}") };
        assert!(matches!(error, BuildError::Certificate) && !error.to_string().contains("hunter2"), "{error}");
    }
    let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", "/not/there"), ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", here)];
    assert!(resolve(Exporter::builder(), &variables[..1]).is_err());
    let both = resolve(Exporter::builder(), &variables).unwrap();
    assert_eq!(both.tls.roots.as_deref(), Some(std::fs::read(here).unwrap().as_slice()), "the form for traces comes first");
}

/// Guarantees: neither the builder nor what becomes of it prints a header's value or an endpoint.
#[test]
fn secrets_are_not_printed() {
    let builder = Exporter::builder().header("authorization", "Bearer hunter2").endpoint("http://u:hunter2@127.0.0.1:4317");
    let printed = format!("{builder:?}");
    assert!(printed.contains("authorization") && !printed.contains("hunter2"), "{printed}");
    let config = resolve(builder, &[]).unwrap();
    let printed = format!("{:?} {:?}", config.headers, config.headers.0);
    assert!(printed.contains("authorization") && !printed.contains("hunter2"), "{printed}");
}

/// Guarantees: the variables that the documentation of senders lists are those that the builder's does.
#[test]
fn the_documentation_lists_every_variable() {
    let named = |text: &str| -> BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        let names = words.filter(|word| word.starts_with("OTEL_") && !word.ends_with('_'));
        // Its form for traces is said once there, and with each variable here.
        names.filter(|name| !name.contains("OTLP_TRACES_")).map(str::to_owned).collect()
    };
    let builders = include_str!("../builder.rs").lines().filter(|line| line.starts_with("/// | "));
    let mut builders = named(&builders.collect::<Vec<_>>().join("\n"));
    // Written there as `…_CLIENT_KEY`.
    builders.insert("OTEL_EXPORTER_OTLP_CLIENT_KEY".to_owned());
    assert_eq!(named(include_str!("../../../docs/sending.md")), builders);
    assert_eq!(builders.len(), 17);
}
