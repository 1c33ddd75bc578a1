//! `assay serve`: runs the service until it is told to stop.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::level_filters::LevelFilter;

use crate::config::{Config, ConfigFile, LogFormat, LogLevel, Telemetry};
use crate::service::Service;
use crate::telemetry::{self, Settings, log, metrics::Metrics};
use crate::time::Clock;

/// `assay serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The configuration file; `assay config example` prints one
    #[arg(
        long,
        value_name = "FILE",
        env = "ASSAY_CONFIG",
        default_value = "assay.toml"
    )]
    config: PathBuf,
}

/// Runs the service. It ends with 0 after SIGTERM or SIGINT when everything under way was answered,
/// with 1 when it was not or could not start.
#[must_use]
pub fn run(args: &ServeArgs) -> ExitCode {
    let (file, config) = match ConfigFile::open(&args.config) {
        Ok(opened) => opened,
        Err(report) => return fail(&report.named(&args.config.display().to_string())),
    };
    match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime.block_on(serve(file, config)),
        Err(error) => fail(&error),
    }
}

fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    // There is nobody left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "assay serve: {why}");
    ExitCode::FAILURE
}

async fn serve(file: ConfigFile, config: Config) -> ExitCode {
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let guard = match telemetry::init(&settings(&config.telemetry), Arc::clone(&metrics)) {
        Ok(guard) => guard,
        Err(error) => return fail(&error),
    };
    // Before anything is open, so that no signal is lost.
    let signals =
        signal(SignalKind::terminate()).and_then(|t| Ok((t, signal(SignalKind::interrupt())?)));
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(&error),
    };
    let service = match Service::start(&config, Clock::system(), metrics).await {
        Ok(service) => service.following(file, config),
        Err(error) => return fail(&error),
    };
    let (grpc, side) = (
        service.grpc_addr().to_string(),
        service.side_addr().to_string(),
    );
    tracing::info!(address = grpc, side_address = side, "serving");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    let drained = service.stop().await;
    tracing::info!(drained, "stopped");
    guard.shutdown().await;
    if drained {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn settings(telemetry: &Telemetry) -> Settings {
    Settings {
        format: match telemetry.log_format {
            LogFormat::Json => log::Format::Json,
            LogFormat::Text => log::Format::Text,
        },
        level: match telemetry.log_level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        },
        otlp_endpoint: telemetry.otlp_endpoint.clone(),
        sample_ratio: telemetry.trace_ratio,
        service_name: env!("CARGO_PKG_NAME"),
        service_version: env!("CARGO_PKG_VERSION"),
    }
}
