//! Ctrl-C, SIGTERM, and the hang-up: of a service, which is to load its files again, or of the terminal that was closed.

use std::sync::Arc;

#[cfg(unix)]
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{Notify, watch};

/// What a hang-up (SIGHUP) means.
#[derive(Clone, Debug)]
pub enum HangUp {
    /// The terminal was closed, and with it goes what was started from it.
    Ends,
    /// Whoever runs this as a service wants files to be loaded again, and has this notified.
    Notifies(Arc<Notify>),
}

/// Becomes true at the first Ctrl-C, SIGTERM, or SIGHUP that ends. A second one ends the process at once, for whoever does not want to wait. From
/// when this returns on, none of them kills the process: call it before anybody is told that the program is ready.
///
/// # Errors
/// The operating system does not let the signals be handled.
pub fn on_signal(hang_up: HangUp) -> std::io::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let mut signals = Signals::new(matches!(hang_up, HangUp::Ends))?;
    if let HangUp::Notifies(notify) = hang_up {
        tokio::spawn(pass_on_hang_ups(notify));
    }
    tokio::spawn(async move {
        signals.next().await;
        // Nobody listening means that there is nothing left to stop.
        let _ = sender.send(true);
        signals.next().await;
        std::process::abort();
    });
    Ok(receiver)
}

/// Resolves once it is time to stop. Whoever held the other end and is gone counts as a request, too.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard that this returns must not live across an await.
    drop(stop.wait_for(|stop| *stop).await);
}

/// What ends the process.
#[cfg(unix)]
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    hang_up_ends: bool,
}

#[cfg(unix)]
impl Signals {
    fn new(hang_up_ends: bool) -> std::io::Result<Self> {
        let [interrupt, terminate, hang_up] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(unix::signal);
        Ok(Self { interrupt: interrupt?, terminate: terminate?, hang_up: hang_up?, hang_up_ends })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv(), if self.hang_up_ends => {}
        }
    }
}

/// What ends the process.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new(_: bool) -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // There is no such signal then.
            std::future::pending::<()>().await;
        }
    }
}

async fn pass_on_hang_ups(notify: Arc<Notify>) {
    #[cfg(unix)]
    {
        let Ok(mut hang_up) = unix::signal(SignalKind::hangup()) else { return };
        while hang_up.recv().await.is_some() {
            notify.notify_one();
        }
    }
    #[cfg(not(unix))]
    drop(notify);
}
