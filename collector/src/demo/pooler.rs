//! The simulated pooler: a day of history first, then live requests, all through the exporter, as a real pooler would.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, ensure};
use contract::RequestStatus;
use exporter::{Ended, Exporter, Protocol};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::scenarios::{Plan, World};
use crate::stop::stopped;

/// How far back the history goes.
const HISTORY: Duration = Duration::from_secs(24 * 3600);
/// Requests in the history.
const HISTORY_REQUESTS: u32 = 1500;
/// Live requests that take longer than this are left to the history: nobody watches a demo for six hours.
const LONGEST_LIVE: Duration = Duration::from_secs(180);
/// Requests that are open at the same time, at most.
const MAX_OPEN: usize = 10_000;
/// How long after its end a request's late usage becomes known.
const LATE_USAGE_AFTER: Duration = Duration::from_secs(3);

/// Runs until `stop`.
pub async fn run(otlp_grpc: SocketAddr, rate: f64, seed: u64, mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let exporter = Exporter::builder()
        .endpoint(format!("http://{otlp_grpc}"))
        .protocol(Protocol::Grpc)
        .service_name("codex-pooler")
        .service_version(env!("CARGO_PKG_VERSION"))
        .build()
        .context("cannot start the simulated pooler's exporter")?;
    let mut world = World::new(seed);
    history(&exporter, &mut world, SystemTime::now()).await?;

    let mut open = JoinSet::new();
    // Every other request goes the next way in turn; the ones between are as frequent as they are in life.
    let mut in_turn = false;
    loop {
        let pause = world.around(Duration::from_secs_f64(1.0 / rate));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut stop) => break,
        }
        while open.try_join_next().is_some() {}
        let now = SystemTime::now();
        in_turn = !in_turn;
        let plan = if in_turn { world.next_in_turn(now) } else { world.plan(now) };
        if took(&plan) <= LONGEST_LIVE && open.len() < MAX_OPEN {
            open.spawn(live(exporter.clone(), plan));
        }
    }
    // What is open now is dropped, and recorded as interrupted, as it would be when a pooler ends.
    open.shutdown().await;
    let totals = tokio::task::spawn_blocking(move || exporter.shutdown()).await.context("the exporter failed")?;
    ensure!(totals.dropped() == 0, "the simulated pooler lost {} of {} spans", totals.dropped(), totals.emitted);
    Ok(())
}

/// Sends a day of requests that have ended.
async fn history(exporter: &Exporter, world: &mut World, now: SystemTime) -> anyhow::Result<()> {
    let plans: Vec<Plan> = (0..HISTORY_REQUESTS)
        .map(|n| world.plan(now - HISTORY + (HISTORY / HISTORY_REQUESTS) * n))
        .filter(|plan| plan.lifecycle.end.as_ref().is_some_and(|end| end.at <= now))
        .collect();
    let exporter = exporter.clone();
    tokio::task::spawn_blocking(move || {
        for plan in &plans {
            exporter.record_waiting(&plan.lifecycle);
            if let Some(settlement) = plan.late_usage {
                let mut corrected = plan.lifecycle.clone();
                corrected.settlement = settlement;
                exporter.correct(&plan.lifecycle, &corrected, 1);
            }
        }
        exporter.flush();
    })
    .await
    .context("the history failed")
}

/// Lets one request happen.
async fn live(exporter: Exporter, plan: Plan) {
    let Plan { lifecycle, late_usage } = plan;
    let (Some(end), false) = (lifecycle.end.clone().and_then(Ended::for_handles), lifecycle.attempts.is_empty()) else {
        // Over as soon as it began: rejected, or only something read.
        exporter.record(&lifecycle);
        return;
    };
    let request = exporter.admit(lifecycle.admission.clone()).dispatch();
    for attempt in lifecycle.attempts {
        until(attempt.started_at).await;
        let attempt_end = attempt.end.clone();
        let handle = request.attempt(attempt);
        if let Some(attempt_end) = attempt_end {
            until(attempt_end.at).await;
            handle.finish(attempt_end);
        }
    }
    until(end.at).await;
    request.settle(lifecycle.settlement);
    let mut finished = request.finish(end);
    if let Some(settlement) = late_usage {
        tokio::time::sleep(LATE_USAGE_AFTER).await;
        finished.settle(settlement);
    }
}

async fn until(at: SystemTime) {
    tokio::time::sleep(at.duration_since(SystemTime::now()).unwrap_or_default()).await;
}

fn took(plan: &Plan) -> Duration {
    let end = plan.lifecycle.end.as_ref().filter(|end| end.status != RequestStatus::InProgress);
    end.and_then(|end| end.at.duration_since(plan.lifecycle.admitted_at).ok()).unwrap_or_default()
}
