//! Ctrl-C, SIGTERM, and the terminal that was closed.

use tokio::sync::watch;

/// Becomes true at the first Ctrl-C, SIGTERM or SIGHUP. A second one ends the process at once, for whoever does not want to wait.
pub fn on_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        if signal().await.is_err() {
            return;
        }
        // Nobody listening means that there is nothing left to stop.
        let _ = sender.send(true);
        if signal().await.is_ok() {
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

async fn signal() -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        // The terminal was closed: whatever this process leaves behind, nobody will clean up.
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = terminate.recv() => Ok(()),
            _ = hangup.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await
}
