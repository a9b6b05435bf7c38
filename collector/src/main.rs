//! `pooler-otel`: the collector, its check and its filter, the request log in the terminal, and the demo. Parses the command line, sets up logging, maps errors to exit
//! codes; everything else is in the modules.

mod check;
mod cli;
mod config;
mod demo;
mod logging;
mod receive;
mod requests;
mod sanitize;
mod serve;
mod stop;
#[cfg(twins)]
mod twins;

use std::process::ExitCode;

use config::{Invalid, Resolved};
use stop::HangUp;

/// Exit status of a run that failed.
const FAILED: u8 = 1;
/// Exit status of a run that cannot begin as it is asked to; clap's own for a usage error, too.
const INVALID: u8 = 2;

fn main() -> ExitCode {
    // The one TLS implementation of every client here. It is installed once, so that an error can only mean that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = config::resolve(std::env::args_os().collect()).map_err(Into::into).and_then(run);
    match result {
        Ok(status) => status,
        // A configuration's error begins with its file and line, for editors.
        Err(error) if error.is::<Invalid>() => {
            eprintln!("{error:#}");
            ExitCode::from(INVALID)
        }
        Err(error) => {
            eprintln!("pooler-otel: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn run(Resolved { cli, settings }: Resolved) -> anyhow::Result<ExitCode> {
    logging::init(cli.log_level);
    match cli.command {
        cli::Command::Check(args) => check::run(&args, &settings).map(|()| ExitCode::SUCCESS),
        cli::Command::Sanitize(args) => sanitize::run(&args).map(ExitCode::from),
        cli::Command::Serve(args) => {
            let config = config::serve::config(&args, &settings)?;
            block_on(serve_command(config, args.config.is_some()))
        }
        cli::Command::Requests(args) => block_on(requests::run(&args)),
        cli::Command::Demo(args) => block_on(demo::run(args)),
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(command)?;
    Ok(ExitCode::SUCCESS)
}

async fn serve_command(config: serve::Config, has_file: bool) -> anyhow::Result<()> {
    let server = serve::Server::bind(&config).await?;
    for (role, address) in server.addresses()? {
        println!("listening {} {address}", role.name());
    }
    if let Some(store) = &config.store {
        tracing::info!(data_dir = %store.data_dir.display(), "serving");
    } else {
        tracing::info!("serving without a store");
    }
    // With a file this is a service, whose manager says by a hang-up that files are to be loaded again.
    let hang_up = if has_file || config.policy.is_some() { HangUp::Notifies(server.hang_up()) } else { HangUp::Ends };
    let stop = stop::on_signal(hang_up)?;
    println!("ready");
    server.run(stop).await?;
    tracing::info!("ended");
    Ok(())
}
