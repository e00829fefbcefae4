//! The command that makes an access key in a running sandbox, as `aws secretsmanager create-secret` makes one in a deployment.

use std::error::Error;

use clap::Args;
use serde_json::{Value, json};

use crate::options::PORT_DEFAULT;

/// What follows `access-key`.
#[derive(Debug, Clone, Args)]
pub struct AccessKeyOptions {
    /// The port of the running sandbox's API
    #[arg(long, value_name = "N", default_value_t = PORT_DEFAULT, value_parser = clap::value_parser!(u16).range(1..=65533))]
    pub port: u16,
    /// The organization that the key is of; the one that the sandbox is ready for unless given
    #[arg(long, value_name = "ID")]
    pub organization: Option<String>,
    /// What the key permits, such as CONFIG_RETRIEVE; everything unless given
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub permissions: Vec<String>,
}

/// Asks the running sandbox for a key and prints it as JSON.
pub async fn run(options: &AccessKeyOptions) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut wanted = json!({});
    if let Some(organization) = &options.organization {
        wanted["orgId"] = json!(organization);
    }
    if !options.permissions.is_empty() {
        wanted["permissions"] = json!(options.permissions);
    }
    let controls = format!("http://127.0.0.1:{}", u32::from(options.port) + 2);
    let request = reqwest::Client::new()
        .post(format!("{controls}/access-key"))
        .json(&wanted);
    let answer = request.send().await.map_err(|error| {
        format!("no sandbox answers at {controls}: start one with `cargo run -p sandbox`, or give its --port ({error})")
    })?;
    let made = answer.status().is_success();
    let answer: Value = answer.json().await?;
    if !made {
        return Err(answer["message"]
            .as_str()
            .unwrap_or("the sandbox made no key")
            .to_owned()
            .into());
    }
    println!("{answer}");
    Ok(())
}
