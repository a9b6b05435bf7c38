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
pub fn on_signal(hang_up: HangUp) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    let ends = matches!(hang_up, HangUp::Ends);
    if let HangUp::Notifies(notify) = hang_up {
        tokio::spawn(pass_on_hang_ups(notify));
    }
    tokio::spawn(async move {
        if signal(ends).await.is_err() {
            return;
        }
        // Nobody listening means that there is nothing left to stop.
        let _ = sender.send(true);
        if signal(ends).await.is_ok() {
            std::process::abort();
        }
    });
    receiver
}

/// Resolves once it is time to stop. Whoever held the other end and is gone counts as a request, too.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard that this returns must not live across an await.
    drop(stop.wait_for(|stop| *stop).await);
}

async fn signal(hang_up_ends: bool) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
            _ = hang_up.recv(), if hang_up_ends => Ok(()),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = hang_up_ends;
        tokio::signal::ctrl_c().await
    }
}

async fn pass_on_hang_ups(notify: Arc<Notify>) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else { return };
        while hang_up.recv().await.is_some() {
            notify.notify_one();
        }
    }
    #[cfg(not(unix))]
    drop(notify);
}
