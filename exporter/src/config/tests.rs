//! What the environment, and settings that contradict it, come to.

use super::*;
use crate::exporter::Exporter;

#[allow(clippy::needless_pass_by_value, reason = "the tests build it on the spot")]
fn resolve(builder: Builder, variables: &[(&str, &str)]) -> Result<Config, BuildError> {
    let variables: std::collections::HashMap<_, _> = variables.iter().copied().collect();
    Config::resolve(&builder, &|name| variables.get(name).map(|value| (*value).to_owned()))
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

/// Guarantees: a variable that cannot be meant is refused in words that repeat none of it; one that is off switches all off.
#[test]
fn bad_variables() {
    for (name, value, expected) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/hunter2", "protocol"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "hunter2", "compression"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "hunter2", "timeout"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0", "timeout"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2", "headers"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2%zz=x%zz", "headers"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x=hunter2%0Ay", "headers"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://hunter2@example", "endpoint"),
        ("OTEL_SERVICE_NAME", "Hunter2 hunter2", "service name"),
    ] {
        let Err(error) = resolve(Exporter::builder(), &[(name, value)]) else { panic!("{name}={value}") };
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains("unter2"), "{text}");
    }
    for (value, off) in [("true", true), ("TRUE", true), ("false", false), ("1", false)] {
        assert_eq!(disabled(&|name| (name == "OTEL_SDK_DISABLED").then(|| value.to_owned())), off, "{value}");
    }
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
