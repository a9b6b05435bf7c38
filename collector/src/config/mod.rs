//! What `serve` runs with, and where each option comes from: a flag, else its variable, else the configuration file, else the default.
//!
//! The options are declared once, as flags of `serve`. Flag `--data-dir`, variable `POOLER_OTEL_DATA_DIR` and line `data_dir: …` of the file
//! are one option, read by the same parser: what the file says is added to the command line where that says nothing.

pub mod file;
pub mod headers;
mod push;
pub mod serve;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;

/// The commented default configuration.
pub const DEFAULT_FILE: &str = include_str!("../../../collector-config/pooler-otel.yaml");

/// A configuration that cannot be: where, and what to change. It never repeats a value, which could be a secret.
#[derive(Debug)]
pub struct Invalid {
    place: String,
    text: String,
}

impl Invalid {
    /// An error at a place, such as `pooler-otel.yaml:12` or `--retention`.
    pub fn new(place: impl fmt::Display, text: impl Into<String>) -> Self {
        Self { place: place.to_string(), text: text.into() }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

impl std::error::Error for Invalid {}

/// Where an option's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file, at this line.
    File(PathBuf, u32),
    /// A variable of the environment, by this name.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl Origin {
    /// Its kind, for programs.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::File(..) => "file",
            Self::Environment(_) => "environment",
            Self::Flag(_) => "flag",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One option in force.
#[derive(Debug)]
pub struct Setting {
    /// Name in the file.
    pub key: String,
    /// Values as they were written; none where there is no default either.
    pub values: Vec<String>,
    /// Who says so.
    pub origin: Origin,
}

/// A command line with what the configuration file adds to it.
pub struct Resolved {
    /// The parsed command line.
    pub cli: Cli,
    /// Every option of the command, in the order of its help. Empty for a command without a configuration file.
    pub settings: Vec<Setting>,
}

/// Reads the command line, and the configuration file that it or the environment names.
///
/// # Errors
/// An unknown option in the file, or a value that its parser refuses. A usage error of the command line itself ends the process, as does `--help`.
pub fn resolve(arguments: Vec<OsString>) -> Result<Resolved, Invalid> {
    let mut command = Cli::command();
    // Gives the commands the flags that they share with the top.
    command.build();
    let given = Cli::command().get_matches_from(&arguments);
    let options: Vec<Arg> = given.subcommand_name().map_or_else(Vec::new, |name| options(&command, name));
    let matches = given.subcommand().map(|(_, matches)| matches);
    let path = matches.filter(|_| !options.is_empty()).and_then(|m| m.get_one::<PathBuf>("config").cloned());
    let mut arguments = arguments;
    let mut lines = Vec::new();
    if let (Some(path), Some(matches)) = (&path, matches) {
        for entry in file::read(path)? {
            let option = known(&entry, &options, path)?;
            let flags = as_flags(&entry, option);
            check(&flags, &arguments, given.subcommand_name(), &format!("{}:{}", path.display(), entry.line), &entry.key)?;
            if !is_given(matches, option) {
                arguments.extend(flags.into_iter().map(OsString::from));
                lines.push((entry.key, entry.line));
            }
        }
    }
    let all = Cli::command().get_matches_from(&arguments);
    let settings = match (all.subcommand(), matches) {
        (Some((_, all)), Some(given)) => {
            options.iter().map(|option| setting(option, all, given, path.as_deref(), &lines)).collect()
        }
        _ => Vec::new(),
    };
    let cli = Cli::from_arg_matches(&all).unwrap_or_else(|error| error.exit());
    Ok(Resolved { cli, settings })
}

/// The options of a command that may be in a file: those with a variable, for a command that takes a file at all.
fn options(command: &clap::Command, name: &str) -> Vec<Arg> {
    let Some(command) = command.find_subcommand(name) else { return Vec::new() };
    if !command.get_arguments().any(|arg| arg.get_id() == "config") {
        return Vec::new();
    }
    command.get_arguments().filter(|arg| arg.get_env().is_some() && arg.get_id() != "config").cloned().collect()
}

fn known<'a>(entry: &file::Entry, options: &'a [Arg], path: &Path) -> Result<&'a Arg, Invalid> {
    options.iter().find(|option| option.get_id() == entry.key.as_str()).ok_or_else(|| {
        let names: Vec<&str> = options.iter().map(|option| option.get_id().as_str()).collect();
        let text = format!("there is no such option; there are {}", names.join(", "));
        Invalid::new(format_args!("{}:{}", path.display(), entry.line), text)
    })
}

fn as_flags(entry: &file::Entry, option: &Arg) -> Vec<String> {
    let flag = option.get_long().unwrap_or_default();
    entry.values.iter().map(|value| format!("--{flag}={value}")).collect()
}

/// Parses an option of the file as the flag that it stands for, alone, so that an error is that option's.
fn check(flags: &[String], arguments: &[OsString], command: Option<&str>, place: &str, key: &str) -> Result<(), Invalid> {
    let program = arguments.first().cloned().unwrap_or_default();
    let alone = [program, command.unwrap_or_default().into()].into_iter().chain(flags.iter().map(OsString::from));
    Cli::command().try_get_matches_from(alone).map(drop).map_err(|error| Invalid::new(place, format!("{key}: {}", why(&error))))
}

/// Why a value is refused. The whole text of the error would repeat the value.
fn why(error: &clap::Error) -> String {
    if let Some(source) = std::error::Error::source(error) {
        return source.to_string();
    }
    match (error.kind(), error.get(ContextKind::ValidValue)) {
        (_, Some(ContextValue::Strings(values))) if !values.is_empty() => format!("give one of {}", values.join(", ")),
        (ErrorKind::ArgumentConflict, _) => "it takes one value".to_owned(),
        _ => "its value is not of the right form".to_owned(),
    }
}

fn is_given(matches: &ArgMatches, option: &Arg) -> bool {
    let source = matches.value_source(option.get_id().as_str());
    matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

fn setting(option: &Arg, all: &ArgMatches, given: &ArgMatches, path: Option<&Path>, lines: &[(String, u32)]) -> Setting {
    let key = option.get_id().as_str();
    let values = all.get_raw(key).map_or_else(Vec::new, |raw| raw.map(|value| value.to_string_lossy().into_owned()).collect());
    let origin = match (given.value_source(key), lines.iter().find(|(name, _)| name == key), path) {
        (Some(ValueSource::CommandLine), ..) => Origin::Flag(format!("--{}", option.get_long().unwrap_or(key))),
        (Some(ValueSource::EnvVariable), ..) => {
            Origin::Environment(option.get_env().map_or_else(String::new, |name| name.to_string_lossy().into_owned()))
        }
        (_, Some((_, line)), Some(path)) => Origin::File(path.to_owned(), *line),
        _ => Origin::Default,
    };
    Setting { key: key.to_owned(), values, origin }
}

/// Where an option comes from, for an error about it; and which it is, where that does not say so.
pub fn place(settings: &[Setting], key: &str) -> String {
    match settings.iter().find(|setting| setting.key == key) {
        Some(Setting { origin: Origin::Default, .. }) | None => format!("--{}", key.replace('_', "-")),
        Some(Setting { origin: origin @ Origin::File(..), .. }) => format!("{origin}: {key}"),
        Some(setting) => setting.origin.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve_options() -> Vec<Arg> {
        let mut command = Cli::command();
        command.build();
        options(&command, "serve")
    }

    fn arguments(text: &[&str]) -> Vec<OsString> {
        ["pooler-otel"].iter().chain(text).map(OsString::from).collect()
    }

    /// Guarantees: the default file sets every option that has a default to that default, and shows each other one commented out; each has a comment before it.
    #[test]
    fn the_default_file_is_complete_and_says_the_defaults() {
        let options = serve_options();
        assert!(options.len() > 10);
        // With the lines that are commented out put in force, the file has every option.
        let is_option = |line: &str| options.iter().any(|option| line.starts_with(&format!("# {}:", option.get_id())));
        let mut complete = String::new();
        for line in DEFAULT_FILE.lines() {
            let uncommented = is_option(line) || line.starts_with("#   - ");
            complete += if uncommented { &line[2..] } else { line };
            complete.push('\n');
        }
        let all = file::parse(&complete, "complete").unwrap();
        let set = file::parse(DEFAULT_FILE, "default").unwrap();
        let lines: Vec<&str> = DEFAULT_FILE.lines().collect();
        for option in &options {
            let key = option.get_id().as_str();
            let entry = all.iter().find(|entry| entry.key == key).unwrap_or_else(|| panic!("{key} is not in the default file"));
            let before = lines[entry.line as usize - 2];
            assert!(before.starts_with("# "), "{key} has no comment");
            check(&as_flags(entry, option), &arguments(&[]), Some("serve"), "here", key).unwrap();
            let defaults: Vec<String> =
                option.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
            let values = set.iter().find(|entry| entry.key == key).map_or(Vec::new(), |entry| entry.values.clone());
            assert_eq!(values, defaults, "{key}");
        }
        assert_eq!(all.len(), options.len(), "the file has an option that serve has not");
    }

    /// Guarantees: every option's name in the file is its flag with underscores, and its variable is that in capitals: one rule, no exception.
    #[test]
    fn names_follow_one_rule() {
        for option in serve_options() {
            let key = option.get_id().as_str();
            assert_eq!(option.get_long().unwrap().replace('-', "_"), key);
            assert_eq!(option.get_env().unwrap().to_str().unwrap(), format!("POOLER_OTEL_{}", key.to_uppercase()));
        }
    }

    /// Guarantees: a flag wins over the file and the file over the default, and each setting says which it was. That variables are between the
    /// two is tested on the real binary, which has an environment of its own.
    #[test]
    fn the_nearer_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        std::fs::write(&path, "retention: 1d\nmax_store_mib: 7\nforward_headers: [a=b, c=d]\nlog_level: error\n").unwrap();
        let given = arguments(&["serve", "--config", path.to_str().unwrap(), "--retention", "2d"]);
        let Resolved { cli, settings } = resolve(given).unwrap();
        let crate::cli::Command::Serve(args) = cli.command else { panic!("it is serve") };
        assert_eq!(args.retention.as_secs(), 2 * 86_400);
        assert_eq!((args.max_store_mib, args.forward.forward_headers.len()), (7, 2));
        assert_eq!(cli.log_level, crate::logging::LogLevel::Error);
        let origin = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap().origin.clone();
        assert_eq!(origin("retention"), Origin::Flag("--retention".to_owned()));
        assert_eq!(origin("max_store_mib"), Origin::File(path.clone(), 2));
        assert_eq!(origin("log_level"), Origin::File(path, 4));
        assert_eq!(origin("data_dir"), Origin::Default);
    }

    /// Guarantees: an unknown option, or a value that its flag would refuse, is an error with file and line, also where a flag wins over it; no value is repeated.
    #[test]
    fn a_bad_option_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.yaml");
        for (line, why) in [
            ("retentoin: 14d", "there is no such option"),
            ("config: other.yaml", "there is no such option"),
            ("retention: hunter2", "give a number and a unit"),
            ("retention: [1d, 2d]", "one value"),
            ("log_level: hunter2", "error, warn, info, debug"),
            ("forward_protocol: hunter2", "http/protobuf"),
            ("forward_signals: [traces, hunter2]", "traces, logs, metrics"),
            ("store: hunter2", "true, false"),
            ("otlp_grpc_listen: hunter2", "an IP address and a port"),
            ("otlp_grpc_listen: localhost:4317", "names such as localhost"),
            ("max_store_mib: -1", "between 1 and 16777216"),
            ("max_store_mib: 99999999999", "between 1 and 16777216"),
            ("retention: 0d", "above 0"),
            ("retention: 99999d", "36500d at most"),
            ("forward_headers: [a=b", "not closed"),
        ] {
            std::fs::write(&path, format!("# one\n{line}\n")).unwrap();
            let error = resolve(arguments(&["serve", "--config", path.to_str().unwrap(), "--retention", "2d"]))
                .err()
                .unwrap()
                .to_string();
            assert!(error.starts_with(&format!("{}:2: ", path.display())) && error.contains(why), "{line}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
