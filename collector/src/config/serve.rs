//! From options to what `serve` runs with: looks up what they refer to, and refuses what contradicts itself.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use super::{Invalid, Origin, Setting, headers, place};
use crate::cli::{ForwardArgs, ServeArgs};
use crate::serve::forward::ForwardConfig;
use crate::serve::policy::PolicyFile;
use crate::serve::{Config, StoreConfig};

/// Largest file of certificates that is read, in bytes.
const MAX_CERTIFICATES_BYTES: u64 = 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// What `serve` runs with.
///
/// # Errors
/// Options that contradict each other, a secret or a certificate that cannot be read, or no folder to keep data in.
pub fn config(args: &ServeArgs, settings: &[Setting]) -> Result<Config, Invalid> {
    let store = store(args, settings)?;
    let forward = forward(&args.forward, settings)?;
    if store.is_none() && forward.is_none() {
        let text = "the store is off and there is no forward_endpoint, so that everything would be dropped; set one of the two";
        return Err(Invalid::new(place(settings, "store"), text));
    }
    let listen = &args.listen;
    let mut ports = HashMap::new();
    for (key, address) in [
        ("otlp_grpc_listen", listen.otlp_grpc_listen),
        ("otlp_http_listen", listen.otlp_http_listen),
        ("tempo_listen", listen.tempo_listen),
        ("metrics_listen", listen.metrics_listen),
    ] {
        if address.port() != 0
            && let Some(other) = ports.insert(address, key)
        {
            return Err(Invalid::new(place(settings, key), format!("{other} has the same address; choose another port")));
        }
    }
    if let Some(forward) = &forward
        && let Some(key) = ports.iter().find_map(|(own, key)| leads_to(&forward.endpoint, *own).then_some(key))
    {
        let text = format!("it leads to {key} of this very process; name another destination");
        return Err(Invalid::new(place(settings, "forward_endpoint"), text));
    }
    Ok(Config {
        store,
        otlp_grpc: listen.otlp_grpc_listen,
        otlp_http: listen.otlp_http_listen,
        tempo: listen.tempo_listen,
        metrics: listen.metrics_listen,
        forward,
        push: super::push::push(&args.push, settings)?,
        policy: args.policy.as_deref().map(PolicyFile::load).transpose()?,
    })
}

/// Whether who sends to a URL comes to this listener, as far as the URL itself tells: a name is not looked up.
fn leads_to(url: &reqwest::Url, own: SocketAddr) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let same = match host.parse::<IpAddr>() {
        Ok(ip) => ip == own.ip() || ip.is_unspecified() || (ip.is_loopback() && own.ip().is_unspecified()),
        Err(_) => host == "localhost" && (own.ip().is_loopback() || own.ip().is_unspecified()),
    };
    same && url.port_or_known_default() == Some(own.port())
}

fn store(args: &ServeArgs, settings: &[Setting]) -> Result<Option<StoreConfig>, Invalid> {
    if !args.store {
        return Ok(None);
    }
    let data_dir = args
        .data_dir
        .clone()
        .or_else(default_data_dir)
        .ok_or_else(|| Invalid::new(place(settings, "data_dir"), "there is no home folder to keep data in; name a folder"))?;
    Ok(Some(StoreConfig { data_dir, retention: args.retention, max_bytes: args.max_store_mib.saturating_mul(MIB) }))
}

/// Where data is kept unless told otherwise.
pub fn default_data_dir() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = folder("XDG_DATA_HOME").or_else(|| Some(folder("HOME")?.join(".local/share")))?;
    Some(data.join("pooler-otel"))
}

/// The destination, if there is one.
///
/// # Errors
/// A URL that is none, headers without a reference, certificates that cannot be read, or any of these without an endpoint.
pub fn forward(args: &ForwardArgs, settings: &[Setting]) -> Result<Option<ForwardConfig>, Invalid> {
    let invalid = |key: &str, text: &str| Invalid::new(place(settings, key), text);
    let Some(endpoint) = &args.forward_endpoint else {
        // A file may list every option; only those that ask for something are in vain.
        let in_vain =
            [("forward_headers", !args.forward_headers.is_empty()), ("forward_tls_ca_file", args.forward_tls_ca_file.is_some())];
        return match in_vain.into_iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(invalid(key, "there is no forward_endpoint that it is for; name one, or remove this")),
            None => Ok(None),
        };
    };
    let url = url(endpoint).map_err(|text| invalid("forward_endpoint", &text))?;
    let ca = match &args.forward_tls_ca_file {
        Some(_) if url.scheme() == "http" => {
            return Err(invalid("forward_tls_ca_file", "the forward_endpoint is not https; change that, or remove this"));
        }
        Some(path) => Some(
            super::file::read_text(path, MAX_CERTIFICATES_BYTES).map_err(|e| invalid("forward_tls_ca_file", &e.to_string()))?,
        ),
        None => None,
    };
    let holds_one = |pem: &String| reqwest::Certificate::from_pem_bundle(pem.as_bytes()).is_ok_and(|all| !all.is_empty());
    if ca.as_ref().is_some_and(|pem| !holds_one(pem)) {
        return Err(invalid("forward_tls_ca_file", "it holds no certificate in PEM"));
    }
    let headers = headers::headers(&args.forward_headers).map_err(|error| invalid("forward_headers", &error))?;
    Ok(Some(ForwardConfig {
        endpoint: url,
        signals: args.forward_signals.clone(),
        protocol: args.forward_protocol,
        headers,
        ca_pem: ca,
        compression: args.forward_compression,
        timeout: args.forward_timeout,
    }))
}

/// The URL of a destination.
///
/// # Errors
/// What is wrong with it, without repeating it.
pub fn url(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text).map_err(|_| "it is not a URL; give one such as http://127.0.0.1:4317")?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("it must start with http:// or https:// and name a host".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("a URL cannot carry credentials or a query here; forward_headers is for those".to_owned());
    }
    Ok(url)
}

/// Where a URL leads, without what it may hold besides: a name and a password, a path, a query.
pub fn origin(url: &reqwest::Url) -> String {
    let port = url.port_or_known_default().map_or(String::new(), |port| format!(":{port}"));
    format!("{}://{}{port}", url.scheme(), url.host_str().unwrap_or_default())
}

impl Setting {
    /// The value as it may be shown: of headers, which refer to secrets, the names alone; of a URL, whose path can be one, where it leads.
    pub fn shown(&self) -> Option<String> {
        if ["forward_endpoint", "metrics_otlp_endpoint"].contains(&self.key.as_str()) {
            return self
                .values
                .first()
                .map(|url| reqwest::Url::parse(url).map_or_else(|_| contract::DASH.to_owned(), |url| origin(&url)));
        }
        if self.key == "forward_headers" {
            return (!self.values.is_empty()).then(|| headers::names(&self.values).join(", "));
        }
        match self.values.as_slice() {
            [] if self.key == "data_dir" && self.origin == Origin::Default => {
                default_data_dir().map(|dir| dir.display().to_string())
            }
            [] => None,
            values => Some(values.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Command;
    use crate::config::{Resolved, resolve};

    fn of(flags: &[&str]) -> Result<Config, Invalid> {
        let arguments = ["pooler-otel", "serve", "--data-dir", "/tmp/x"].iter().chain(flags).map(std::ffi::OsString::from);
        let Resolved { cli, settings } = resolve(arguments.collect())?;
        let Command::Serve(args) = cli.command else { panic!("it is serve") };
        config(&args, &settings)
    }

    /// Guarantees: options that contradict each other are refused with the name of one of them and what to change; nothing given is repeated.
    #[test]
    fn contradictions_are_refused() {
        for (flags, place) in [
            (vec!["--store", "false"], "--store: "),
            (vec!["--forward-headers", "a=${env:PATH}"], "--forward-headers: "),
            (vec!["--forward-tls-ca-file", "/hunter2"], "--forward-tls-ca-file: "),
            (vec!["--forward-endpoint", "http://h", "--forward-tls-ca-file", "/hunter2"], "--forward-tls-ca-file: "),
            (vec!["--forward-endpoint", "hunter2"], "--forward-endpoint: "),
            (vec!["--forward-endpoint", "ftp://hunter2"], "--forward-endpoint: "),
            (vec!["--forward-endpoint", "http://me:hunter2@h"], "--forward-endpoint: "),
            (vec!["--forward-endpoint", "http://h/?key=hunter2"], "--forward-endpoint: "),
            (vec!["--forward-endpoint", "http://h", "--forward-headers", "a=hunter2"], "--forward-headers: "),
            (vec!["--tempo-listen", "127.0.0.1:9464"], "--metrics-listen: "),
            (vec!["--forward-endpoint", "http://localhost:4317"], "--forward-endpoint: "),
            (vec!["--forward-endpoint", "http://127.0.0.1:4318/x"], "--forward-endpoint: "),
            (vec!["--forward-endpoint", "http://[::1]:9", "--otlp-grpc-listen", "[::]:9"], "--forward-endpoint: "),
            (vec!["--forward-endpoint", "http://0.0.0.0", "--otlp-http-listen", "127.0.0.1:80"], "--forward-endpoint: "),
        ] {
            let error = of(&flags).unwrap_err().to_string();
            assert!(error.starts_with(place) && !error.contains("hunter2"), "{flags:?}: {error}");
        }
    }

    /// Guarantees: what does not contradict itself is taken, and no header's value is in the debug form of it.
    #[test]
    fn what_is_right_is_taken() {
        assert!(of(&[]).unwrap().forward.is_none());
        assert!(of(&["--tempo-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"]).is_ok());
        assert!(of(&["--forward-endpoint", "http://localhost:14317"]).is_ok());
        assert!(of(&["--forward-endpoint", "http://192.0.2.7:4317", "--otlp-grpc-listen", "192.0.2.8:4317"]).is_ok());
        let config = of(&["--store=false", "--forward-endpoint", "https://h:1", "--forward-headers", "a=x ${env:PATH}"]).unwrap();
        assert!(config.store.is_none());
        assert!(!format!("{config:?}").contains(&std::env::var("PATH").unwrap()));
    }
}
