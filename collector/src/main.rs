//! `pooler-otel`: the collector, the request log in the terminal, and the demo. Parses the command line, sets up logging, maps errors to exit
//! codes; everything else is in the modules.

mod cli;
mod demo;
mod logging;
mod receive;
mod requests;
mod serve;
mod stop;
#[cfg(twins)]
mod twins;

use std::process::ExitCode;

use clap::Parser as _;

/// Exit status of a run that failed. clap ends with 2 on a usage error.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    logging::init(cli.log_level);
    // The one TLS implementation of every client here. It is installed once, so that an error can only mean that it is there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                cli::Command::Serve(args) => serve_command(args).await,
                cli::Command::Requests(args) => requests::run(&args).await,
                cli::Command::Demo(args) => demo::run(args).await,
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pooler-otel: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

async fn serve_command(args: cli::ServeArgs) -> anyhow::Result<()> {
    let config = args.into_config()?;
    let server = serve::Server::bind(&config).await?;
    for (role, address) in server.addresses()? {
        println!("listening {} {address}", role.name());
    }
    println!("ready");
    tracing::info!(data_dir = %config.data_dir.display(), "serving");
    server.run(stop::on_signal()).await?;
    tracing::info!("ended");
    Ok(())
}
