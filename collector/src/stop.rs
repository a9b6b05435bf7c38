//! Ctrl-C, SIGTERM, and the hang-up: of a service, which is to load its files again, or of the terminal that was closed.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// What a hang-up (SIGHUP) means.
#[derive(Clone, Debug)]
pub enum HangUp {
    /// The terminal was closed, and with it goes what was started from it.
    Ends,
    /// Whoever runs this as a service wants files to be loaded again, and has this notified.
    Notifies(Arc<Notify>),
}

/// Becomes true at the first Ctrl-C, SIGTERM, or SIGHUP that ends. A second one ends the process at once, for whoever does not want to wait.
///
/// From its return on, no signal is missed: whoever is told only then that there is something to stop can stop it.
///
/// # Errors
/// The operating system's, if it takes no handler.
pub fn on_signal(hang_up: HangUp) -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut signals = Signals::new(hang_up)?;
    tokio::spawn(async move {
        signals.ending().await;
        // Nobody listening means that there is nothing left to stop.
        let _ = sender.send(true);
        signals.ending().await;
        std::process::abort();
    });
    Ok(receiver)
}

/// Resolves once it is time to stop. Whoever held the other end and is gone counts as a request, too.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard that this returns must not live across an await.
    drop(stop.wait_for(|stop| *stop).await);
}

/// What comes from the operating system. It comes from when this is made, not only from when it is waited for.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
    meaning: HangUp,
}

#[cfg(unix)]
impl Signals {
    fn new(meaning: HangUp) -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            meaning,
        })
    }

    /// Waits for one that ends, and passes on those that do not.
    async fn ending(&mut self) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                _ = self.hang_up.recv() => match &self.meaning {
                    HangUp::Ends => return,
                    HangUp::Notifies(notify) => notify.notify_one(),
                },
            }
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new(_: HangUp) -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn ending(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
