//! The policy in force: the contract's, or the operator's file, which is loaded again when it changes and at a hang-up. One that is invalid takes
//! nobody's place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use contract::ReloadResult;
use sanitizer::Policy;
use tokio::sync::{Notify, watch};

use super::metrics::Metrics;
use crate::config::Invalid;
use crate::config::file::read_text;
use crate::stop::stopped;

/// Largest policy file that is read, in bytes.
const MAX_POLICY_BYTES: u64 = 64 * 1024;
/// How often the file is looked at. Its text is compared, so that a link that is turned to another file is noticed as well as an editor.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long a changed file must stay as it is before it is loaded: half of a policy could be valid, and let more through.
const SETTLE: Duration = Duration::from_secs(1);

/// A policy, and the file that it is from.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    path: PathBuf,
    /// To notice a change.
    text: String,
    policy: Arc<Policy>,
}

impl PolicyFile {
    /// Loads a policy.
    ///
    /// # Errors
    /// A file that cannot be read, or the first thing that is wrong in it, with its line.
    pub fn load(path: &Path) -> Result<Self, Invalid> {
        Self::parse(path, read_text(path, MAX_POLICY_BYTES)?)
    }

    fn parse(path: &Path, text: String) -> Result<Self, Invalid> {
        let policy = Policy::from_yaml(&text)
            .map_err(|error| Invalid::new(format_args!("{}:{}", path.display(), error.line()), error.problem()))?;
        Ok(Self { path: path.to_owned(), text, policy: Arc::new(policy) })
    }

    /// What is valid in it, and yet is hardly meant, each with its line.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.policy.warnings().iter().map(|warning| format!("{}:{}: {}", self.path.display(), warning.line, warning.text))
    }

    /// Says them in the log.
    pub fn log_warnings(&self) {
        for warning in self.warnings() {
            tracing::warn!("{warning}");
        }
    }

    /// The policy.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }
}

/// The policy by which messages are judged. Whoever takes one out judges a whole message by it.
#[derive(Debug)]
pub struct InForce(RwLock<Arc<Policy>>);

impl InForce {
    /// This one, until it is replaced.
    pub fn new(policy: Arc<Policy>) -> Self {
        policy.prepare();
        Self(RwLock::new(policy))
    }

    /// The policy at this moment.
    pub fn now(&self) -> Arc<Policy> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, policy: Arc<Policy>) {
        policy.prepare();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = policy;
    }
}

/// Looks after the file.
pub struct Watch {
    path: PathBuf,
    /// What stood in the file when it was last judged; none if it could not be read.
    seen: Option<String>,
    in_force: Arc<InForce>,
    metrics: Arc<Metrics>,
}

impl Watch {
    /// Looks after the file that the policy in force is from.
    pub fn new(file: PolicyFile, in_force: Arc<InForce>, metrics: Arc<Metrics>) -> Self {
        Self { path: file.path, seen: Some(file.text), in_force, metrics }
    }

    /// Loads the file again when it has changed, and at every hang-up, until `stop`.
    pub async fn run(mut self, hang_up: Arc<Notify>, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return,
                () = hang_up.notified() => {
                    let text = self.read().await;
                    self.judge(text);
                }
                () = tokio::time::sleep(LOOK_EVERY) => self.look().await,
            }
        }
    }

    async fn look(&mut self) {
        let before = self.read().await.ok();
        if before == self.seen {
            return;
        }
        tokio::time::sleep(SETTLE).await;
        let text = self.read().await;
        // Whoever is still writing is waited for until the next look.
        if text.as_ref().ok() == before.as_ref() {
            self.judge(text);
        }
    }

    /// On a thread of its own: the file can be on a disk that has gone away.
    async fn read(&self) -> Result<String, Invalid> {
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || read_text(&path, MAX_POLICY_BYTES)).await;
        read.unwrap_or_else(|_| Err(Invalid::new(self.path.display(), "cannot be read")))
    }

    /// Puts what the file says into force, if it is valid.
    fn judge(&mut self, text: Result<String, Invalid>) {
        self.seen = text.as_ref().ok().cloned();
        match text.and_then(|text| PolicyFile::parse(&self.path, text)) {
            Ok(file) => {
                file.log_warnings();
                let policy = file.policy;
                let version = policy.version().to_owned();
                // Said when it is so: who reads the metric may send by it.
                self.in_force.replace(policy);
                self.metrics.policy_in_force(&version);
                self.metrics.policy_reloaded(ReloadResult::Loaded);
                tracing::info!(version, "the policy is loaded again");
            }
            Err(invalid) => {
                self.metrics.policy_reloaded(ReloadResult::Invalid);
                tracing::warn!(version = self.in_force.now().version(), "{invalid}; the policy before it stays in force");
            }
        }
    }
}

/// Says at every hang-up, until `stop`, that there is nothing to load: a configuration file is read at the start only.
pub async fn nothing_to_load(hang_up: Arc<Notify>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = hang_up.notified() => {
                tracing::info!("there is no policy file to load again; a change of the configuration takes effect at the next start");
            }
        }
    }
}
