//! The containers: every mounted path exists, every published port is one on which its program listens, every address in a configuration
//! names a service and its port, and what is mounted lies where the program looks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use contract::limits::{METRICS_PORT, OTLP_GRPC_PORT, OTLP_HTTP_PORT, TEMPO_PORT};
use regex::Regex;
use serde_json::Value;

use super::collector_config::{DATASOURCES, PROMETHEUS, datasource, texts};
use super::{committed, workspace, yaml};

const COMPOSE: &str = "collector-config/compose.yaml";
const DOCKERFILE: &str = "collector-config/Dockerfile";
const CONFIG: &str = "collector-config/compose/pooler-otel/pooler-otel.yaml";

fn services() -> BTreeMap<String, Value> {
    serde_json::from_value(yaml(COMPOSE)["services"].clone()).expect("services by name")
}

/// The ports on which each service listens: by its file, or by its program's documented default.
fn listens(service: &str) -> BTreeSet<u16> {
    match service {
        "pooler-otel" => BTreeSet::from([OTLP_GRPC_PORT, OTLP_HTTP_PORT, TEMPO_PORT, METRICS_PORT]),
        "tempo" => {
            let config = yaml("collector-config/tempo.yaml");
            let http = config["server"]["http_listen_port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
            let protocols = &config["distributor"]["receivers"]["otlp"]["protocols"];
            let otlp = ["grpc", "http"].map(|p| port(protocols[p]["endpoint"].as_str().expect("an address")).1);
            otlp.into_iter().chain([http]).collect()
        }
        "prometheus" => BTreeSet::from([9090]),
        "alertmanager" => BTreeSet::from([9093]),
        "grafana" => BTreeSet::from([3000]),
        other => panic!("{other}: on which ports does it listen?"),
    }
}

/// Host and port of `http://host:port` or `host:port`.
fn port(address: &str) -> (&str, u16) {
    let (host, port) = address.trim_start_matches("http://").rsplit_once(':').expect("a port");
    (host, port.parse().expect("a number"))
}

/// A service's mounts: source, and where it appears.
fn mounts(service: &Value) -> Vec<(&str, &str)> {
    let volumes = service.get("volumes").map(texts).unwrap_or_default();
    volumes.into_iter().map(|volume| volume.trim_end_matches(":ro").split_once(':').expect("source:target")).collect()
}

/// Guarantees: ports are published on the loopback interface alone, once, and somebody listens on them.
#[test]
fn published_ports_are_listened_to() {
    let mut taken = BTreeSet::new();
    for (name, service) in services() {
        for published in service.get("ports").map(texts).unwrap_or_default() {
            let [address, host, container] = published.split(':').collect::<Vec<_>>()[..] else { panic!("{name}: {published}") };
            assert_eq!(address, "127.0.0.1", "{name}: {published}");
            assert!(taken.insert(host.to_owned()), "{name}: {published} is taken");
            assert!(listens(&name).contains(&container.parse().expect("a port")), "{name} does not listen on {container}");
        }
    }
    assert_eq!(taken.len(), 7);
}

/// Guarantees: every mounted file is there, and cannot be written to; every named volume is declared, and every declared one is used.
#[test]
fn mounted_paths_exist() {
    let mut named = BTreeSet::new();
    for (name, service) in services() {
        for (source, target) in mounts(&service) {
            assert!(target.starts_with('/'), "{name}: {target}");
            if source.starts_with('.') {
                assert!(workspace("collector-config").join(source).exists(), "{name}: {source}");
                assert!(committed(COMPOSE).contains(&format!("{source}:{target}:ro\n")), "{name}: {source} can be written to");
            } else {
                named.insert(source.to_owned());
            }
        }
    }
    let declared: BTreeSet<String> = yaml(COMPOSE)["volumes"].as_object().expect("volumes").keys().cloned().collect();
    assert_eq!(named, declared);
}

/// Guarantees: every address by which one service reaches another names a service, and a port on which that one listens.
#[test]
fn addresses_name_services() {
    let prometheus = yaml(PROMETHEUS[1]);
    let mut addresses: Vec<String> = ["codex-pooler-requests", "tempo", "prometheus"]
        .map(|uid| datasource(DATASOURCES[1], uid)["url"].as_str().expect("a URL").to_owned())
        .into();
    addresses.push(prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str().expect("a target").to_owned());
    addresses.push(
        prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0].as_str().expect("a target").to_owned(),
    );
    let services = services();
    addresses.push(yaml(CONFIG)["forward_endpoint"].as_str().expect("an endpoint").to_owned());
    for address in &addresses {
        let (host, port) = port(address);
        assert!(services.contains_key(host) && listens(host).contains(&port), "{address}");
    }
    for (name, service) in &services {
        for needed in service.get("depends_on").map(texts).unwrap_or_default() {
            assert!(services.contains_key(needed), "{name} depends on {needed}");
        }
    }
}

/// Guarantees: what is mounted lies where each program looks for it, and what each program writes is on a volume.
#[test]
fn programs_find_their_files() {
    let services = services();
    let has =
        |service: &str, target: &str| mounts(&services[service]).iter().any(|(_, mount)| Path::new(target).starts_with(mount));
    for service in ["tempo", "prometheus", "alertmanager"] {
        for argument in texts(&services[service]["command"]) {
            if let Some((_, path)) = argument.split_once("=/") {
                assert!(has(service, &format!("/{path}")), "{service}: {argument}");
            }
        }
    }
    for rules in texts(&yaml(PROMETHEUS[1])["rule_files"]) {
        assert!(has("prometheus", rules), "{rules}");
    }
    let provider = yaml("collector-config/grafana/provisioning/dashboards/codex-pooler.yaml");
    let dashboards = provider["providers"][0]["options"]["path"].as_str().expect("a path");
    let from =
        mounts(&services["grafana"]).into_iter().find(|(_, target)| *target == dashboards).expect("dashboards are mounted").0;
    assert!(workspace("collector-config").join(from).join("request-logs.json").is_file());
    let written = Regex::new(r"/var/tempo[a-z/]*").expect("a constant pattern");
    for path in written.find_iter(&committed("collector-config/tempo.yaml")) {
        assert!(has("tempo", path.as_str()), "{}", path.as_str());
    }
    assert!(texts(&services["prometheus"]["command"]).contains(&"--enable-feature=exemplar-storage"));
}

/// Guarantees: pooler-otel reads the configuration that is mounted, which sends a Tempo the one signal that it takes: what a destination refuses is
/// lost, and wakes somebody.
#[test]
fn the_configuration_is_read() {
    assert_eq!(services()["pooler-otel"]["environment"]["POOLER_OTEL_CONFIG"], "/etc/pooler-otel/pooler-otel.yaml");
    assert_eq!(yaml(CONFIG)["forward_signals"], "traces");
    assert!(committed(CONFIG).contains("\n# policy: /etc/pooler-otel/policy.yaml\n"), "the place of a policy");
}

/// Guarantees: images are pinned to a version, and the one that is built is the Dockerfile's.
#[test]
fn images_are_pinned() {
    let version = Regex::new(r"^[a-z0-9.-]+(?:/[a-z0-9-]+)+:v?[0-9]+\.[0-9]+\.[0-9]+$").expect("a constant pattern");
    for (name, service) in services() {
        let image = service["image"].as_str().expect("an image");
        assert_eq!(service.get("build").is_some(), name == "pooler-otel", "{name}");
        assert!(name == "pooler-otel" || version.is_match(image), "{name}: {image}");
    }
    let build = &services()["pooler-otel"]["build"];
    assert_eq!((&build["context"], &build["dockerfile"]), (&"..".into(), &DOCKERFILE.into()));
}

/// Guarantees: the image listens on, and exposes, exactly the collector's ports; keeps its data on the volume; does not run as root; needs no
/// shell; is built with a Rust that the workspace accepts; and the health check is a command of the program that is in it.
#[test]
fn image_fits_the_program() {
    let file = committed(DOCKERFILE);
    let listen = Regex::new(r"POOLER_OTEL_[A-Z_]+_LISTEN=0\.0\.0\.0:([0-9]+)").expect("a constant pattern");
    let ports: BTreeSet<u16> = listen.captures_iter(&file).map(|found| found[1].parse().expect("a port")).collect();
    assert_eq!(ports, listens("pooler-otel"));
    let instruction = |name: &str| -> Vec<&str> {
        file.lines().filter_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(' '))).collect()
    };
    let exposed: BTreeSet<u16> = instruction("EXPOSE")[0].split(' ').map(|port| port.parse().expect("a port")).collect();
    assert_eq!(exposed, ports);

    let service = &services()["pooler-otel"];
    let data = instruction("VOLUME")[0];
    assert!(file.contains(&format!("POOLER_OTEL_DATA_DIR={data} ")));
    assert_eq!(mounts(service), [("./compose/pooler-otel", "/etc/pooler-otel"), ("pooler-otel", data)]);
    let (_, last) = file.rsplit_once("\nFROM ").expect("two stages");
    assert!(last.contains("distroless") && !last.contains("\nRUN ") && instruction("USER") == ["nonroot"]);
    let program = instruction("ENTRYPOINT")[0].trim_matches(['[', ']', '"']);
    let check = texts(&service["healthcheck"]["test"]);
    assert_eq!(check, ["CMD", program, "requests", "--limit", "1"]);
    assert!(file.contains(&format!("/image{program}")), "{program} is not built");

    let rust = Regex::new(r"rust:([0-9]+)\.([0-9]+)-").expect("a constant pattern").captures(&file).expect("a version of Rust");
    let wanted = Regex::new(r#"rust-version = "([0-9]+)\.([0-9]+)"#).expect("a constant pattern");
    let manifest = committed("Cargo.toml");
    let wanted = wanted.captures(&manifest).expect("a version of Rust");
    let number = |text: &str| text.parse::<u32>().expect("a number");
    assert!((number(&rust[1]), number(&rust[2])) >= (number(&wanted[1]), number(&wanted[2])));
    for ignored in ["target", ".git"] {
        assert!(committed(".dockerignore").lines().any(|line| line == ignored), "{ignored} would be sent to the builder");
    }
}
