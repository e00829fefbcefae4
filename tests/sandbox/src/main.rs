//! The sandbox as a program: one line on stderr for everything that goes wrong before it runs.

use std::error::Error;
use std::process::ExitCode;

use sandbox::demo::{self, Verdict};
use sandbox::options::{Arguments, Command, parse};
use sandbox::{Sandbox, access_key, cost, functions, load};

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
    // What is counted by `cost` is not shown.
    if !matches!(arguments.command, Some(Command::Cost(_))) {
        show_log();
    }
    let ended = match &arguments.command {
        Some(Command::Load(options)) => load::run(options).await.map(End::of),
        Some(Command::Cost(options)) => cost::run(options).await.map(End::of),
        Some(Command::AccessKey(options)) => access_key::run(options).await.map(|()| End::Well),
        None => run(&arguments).await,
    };
    match ended {
        Ok(End::Well) => ExitCode::SUCCESS,
        Ok(End::Broken) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn show_log() {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("OUTBILL_LOG")
                // A condition that fails is an answer to Outbill; the engine warns of each.
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,dynoxide=error")),
        )
        .with_writer(std::io::stderr)
        .init();
}

/// What the program says in the end.
enum End {
    Well,
    /// A law was broken, or a buyer is billed something else than the bills say.
    Broken,
}

impl End {
    fn of(verdict: Verdict) -> End {
        match verdict {
            Verdict::AllHeld => End::Well,
            Verdict::Broken => End::Broken,
        }
    }
}

async fn run(arguments: &Arguments) -> Result<End, Box<dyn Error + Send + Sync>> {
    let sandbox = Sandbox::start(arguments.options(), functions::build).await?;
    let addresses = sandbox.addresses().clone();
    println!("Outbill sandbox");
    println!("  API and overview  {}", addresses.api);
    println!("  AWS stand-ins     {}", addresses.aws);
    println!("  controls          {}", addresses.controls);
    let key = sandbox.access_key();
    println!("  organization      {}", key.org_id);
    println!(
        "  access key        {} with the secret {}",
        key.access_key_id, key.api_secret
    );
    let verdict = if arguments.no_demo {
        Verdict::AllHeld
    } else {
        demo::play(&sandbox).await?
    };
    match verdict {
        Verdict::AllHeld => {}
        Verdict::Broken => eprintln!("error: the demo ended with something wrong, see above"),
    }
    if !arguments.once {
        println!(
            "\nThe sandbox stays up: open {} for what is where. Ctrl-C ends it.",
            addresses.api
        );
        tokio::signal::ctrl_c().await?;
    }
    sandbox.stop().await;
    Ok(End::of(verdict))
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
