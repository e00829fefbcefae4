//! The sandbox as a program: one line on stderr for everything that goes wrong before it runs.

use std::error::Error;
use std::process::ExitCode;

use sandbox::options::{Arguments, parse};
use sandbox::{Sandbox, functions};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match parse(std::env::args()) {
        Ok(arguments) => arguments,
        Err((text, 0)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Err((line, code)) => {
            eprintln!("{line}");
            return ExitCode::from(code);
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("OUTBILL_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error + Send + Sync>> {
    let sandbox = Sandbox::start(arguments.options(), functions::build).await?;
    let addresses = sandbox.addresses();
    println!("Outbill sandbox");
    println!("  API and overview  {}", addresses.api);
    println!("  AWS stand-ins     {}", addresses.aws);
    println!("  controls          {}", addresses.controls);
    if !arguments.once {
        tokio::signal::ctrl_c().await?;
    }
    sandbox.stop().await;
    Ok(())
}

fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line = format!("{line}: {cause}");
        source = cause.source();
    }
    line.replace('\n', " ")
}
