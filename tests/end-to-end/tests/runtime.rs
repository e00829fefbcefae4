//! The functions as Lambda runs them: the real programs, as processes, on the Runtime API.
//!
//! Everything else about the functions is tested in this process, on their handlers. What only a process shows is tested here: that the
//! cold start reads its environment and connects, that events in Lambda's own JSON are understood and answers are given in it, and what a
//! wrong environment says.

use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use end_to_end::programs::program;
use lambda_simulator::{InvocationStatus, Simulator};
use sandbox::metrics::CloudWatch;
use sandbox::{Options, Sandbox};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

/// A debug build answers in well under a second; a machine under load may not.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// A program that must end has ended by then.
const EXIT_WITHIN: Duration = Duration::from_secs(20);

/// A function in its process, and the Runtime API that it talks to.
struct Function {
    simulator: Simulator,
    process: Child,
}

impl Function {
    async fn start(name: &str, sandbox: &Sandbox) -> anyhow::Result<Function> {
        let simulator = Simulator::builder()
            .function_name(name)
            .region("us-east-1")
            .invocation_timeout(ANSWER_WITHIN)
            .build()
            .await?;
        let process = Command::new(program(name).await?)
            // Nothing of this process's own: a developer's AWS profile must not decide anything here.
            .env_clear()
            .envs(simulator.lambda_env_vars())
            .envs(environment(sandbox))
            .env("AWS_ACCESS_KEY_ID", access_key_id(name)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Function { simulator, process })
    }

    /// Ends the function, and gives its log.
    async fn log(mut self) -> anyhow::Result<String> {
        self.process.start_kill()?;
        let output = self.process.wait_with_output().await?;
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Invokes the function. Error: it failed, ended or did not answer.
    async fn invoke(&mut self, event: Value) -> anyhow::Result<Value> {
        let request = self.simulator.enqueue_payload(event).await;
        let state = tokio::select! {
            state = self.simulator.wait_for_invocation_complete(&request, ANSWER_WITHIN) => state?,
            status = self.process.wait() => bail!("the process ended: {}", status?),
        };
        if let Some(error) = state.error {
            bail!("the function failed: {} {}", error.error_type, error.error_message);
        }
        ensure!(state.status == InvocationStatus::Success, "{:?}", state.status);
        Ok(state.response.context("no answer")?.payload)
    }
}

fn environment(sandbox: &Sandbox) -> HashMap<&'static str, String> {
    let addresses = sandbox.addresses();
    HashMap::from([
        ("AWS_ENDPOINT_URL", addresses.aws.clone()),
        ("AWS_SECRET_ACCESS_KEY", "test-only".to_owned()),
        ("OUTBILL_TABLE", sandbox::functions::TABLE.to_owned()),
        (
            "OUTBILL_BILL_QUEUE_URL",
            sandbox::aws::queue_url(&addresses.aws, sandbox::queues::QueueName::Bills),
        ),
        ("OUTBILL_M3TER_BASE_URL", addresses.m3ter.clone()),
        ("OUTBILL_LOG", "warn".to_owned()),
    ])
}

/// By it the sandbox knows the function, and lets it do what the template does.
fn access_key_id(program: &str) -> anyhow::Result<&'static str> {
    let mut functions = sandbox::Function::ALL.into_iter();
    let function = functions.find(|function| function.program() == program);
    Ok(function.context("a function with this program")?.access_key_id())
}

async fn sandbox() -> anyhow::Result<Sandbox> {
    Ok(Sandbox::start(Options::for_tests(), sandbox::functions::build).await?)
}

/// An event of Lambda's SQS event source, as it is documented, with one record for each body.
fn sqs_event(bodies: &[&str]) -> Value {
    let record = |(index, body): (usize, &&str)| {
        json!({
            "messageId": format!("message-{index}"),
            "receiptHandle": format!("receipt-{index}"),
            "body": body,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1545082649183",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": "1545082649185",
            },
            "messageAttributes": {},
            "md5OfBody": "e4e68fb7bd0e697a0ae8f1bb342846b3",
            "eventSource": "aws:sqs",
            "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:outbill-bills",
            "awsRegion": "us-east-1",
        })
    };
    json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()})
}

/// An event of an HTTP API, payload format 2.0.
fn http_event(method: &str, path: &str, headers: Value, body: &str) -> Value {
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": headers,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "api-id",
            "domainName": "id.execute-api.us-east-1.amazonaws.com",
            "domainPrefix": "id",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "test",
            },
            "requestId": "id",
            "routeKey": "$default",
            "stage": "$default",
            "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1773342238000_u64,
        },
        "body": body,
        "isBase64Encoded": false,
    })
}

fn basic(user: &str, password: &str) -> String {
    let text = STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {text}")
}

#[tokio::test(flavor = "multi_thread")]
async fn bill_dispatch_puts_aside_what_it_cannot_read_and_finishes_the_rest() -> anyhow::Result<()> {
    let sandbox = sandbox().await?;
    let mut function = Function::start("bill-dispatch", &sandbox).await?;

    let answer = function
        .invoke(sqs_event(&["{\"neither\":", "{\"flush\":true}"]))
        .await?;
    assert_eq!(answer, json!({"batchItemFailures": []}), "nothing comes again");

    let letters = sandbox.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].body, "{\"neither\":", "as it came");
    let reason = letters[0]
        .attributes
        .get("reason")
        .and_then(|reason| reason.string_value.clone());
    assert!(reason.is_some_and(|reason| reason.starts_with("the message is not JSON")));

    // The process stays for the next invocation, as a warm one does.
    let answer = function.invoke(sqs_event(&["{\"flush\":true}"])).await?;
    assert_eq!(answer, json!({"batchItemFailures": []}));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bill_dispatch_names_the_message_that_must_come_again() -> anyhow::Result<()> {
    let sandbox = sandbox().await?;
    let mut function = Function::start("bill-dispatch", &sandbox).await?;
    // The bill is fetched from a m3ter that is not well; the tick beside it is not held up.
    sandbox.faults(serde_json::from_value(
        json!([{"service": "m3ter", "kind": "error", "times": 100}]),
    )?)?;
    let reference = json!({"orgId": sandbox.access_key().org_id, "billId": "bill-1"}).to_string();
    let answer = function.invoke(sqs_event(&["{\"flush\":true}", &reference])).await?;
    assert_eq!(answer, json!({"batchItemFailures": [{"itemIdentifier": "message-1"}]}));
    assert_eq!(sandbox.dead_letters().len(), 0);
    // Whoever reads the log finds the message, the invocation and, where it is traced, the trace.
    let log = function.log().await?;
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let failed = lines.iter().find(|line| line.to_string().contains("message-1"));
    let failed = failed.with_context(|| format!("no line names the message: {log}"))?;
    for id in ["requestId", "xrayTraceId"] {
        assert!(
            failed["spans"][0][id].as_str().is_some_and(|id| !id.is_empty()),
            "{failed}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_exchanges_an_access_key_for_a_token() -> anyhow::Result<()> {
    let sandbox = sandbox().await?;
    let mut function = Function::start("api", &sandbox).await?;
    let key = sandbox.access_key();
    let token = |secret: &str| {
        let headers = json!({
            "authorization": basic(&key.access_key_id, secret),
            "content-type": "application/json",
            "host": "id.execute-api.us-east-1.amazonaws.com",
        });
        http_event(
            "POST",
            "/oauth/token",
            headers,
            r#"{"grant_type":"client_credentials"}"#,
        )
    };

    let answer = function.invoke(token(&key.api_secret)).await?;
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body: Value = serde_json::from_str(answer["body"].as_str().context("no body")?)?;
    assert!(body["access_token"].as_str().is_some_and(|token| !token.is_empty()));

    let answer = function.invoke(token("another secret")).await?;
    assert_eq!(answer["statusCode"], 403, "{answer}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reconcile_does_what_its_schedules_say() -> anyhow::Result<()> {
    let sandbox = sandbox().await?;
    let mut function = Function::start("reconcile", &sandbox).await?;
    for schedule in [json!({"daily": {}}), json!({"watch": {}}), json!({"continue": {}})] {
        assert_eq!(function.invoke(schedule).await?, Value::Null);
    }
    // What the hourly look measured is in the log, as CloudWatch reads it.
    let cloudwatch = CloudWatch::default();
    let log = function.log().await?;
    for line in log.lines() {
        cloudwatch.read(line).map_err(anyhow::Error::msg)?;
    }
    let series = cloudwatch.series();
    let at_risk = series.iter().find(|series| series.name == "UnitsAtRisk");
    let at_risk = at_risk.with_context(|| format!("no gauge in {log}"))?;
    assert_eq!(at_risk.values.iter().map(|(_, units)| *units).collect::<Vec<_>>(), [0]);
    assert_eq!(
        at_risk.dimensions.get("Deployment").map(String::as_str),
        Some("outbill/")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_function_cannot_take_is_one_of_lambda_s_errors_and_the_next_event_is_answered() -> anyhow::Result<()> {
    // Lambda counts them in the metric that three of the template's alarms look at.
    let sandbox = sandbox().await?;
    let about = http_event("GET", "/openapi.json", json!({}), "");
    for (name, bad, good) in [
        (
            "bill-dispatch",
            json!({ "records": "none" }),
            sqs_event(&["{\"flush\":true}"]),
        ),
        ("api", json!({ "version": "2.0" }), about),
        ("reconcile", json!({ "neverHeardOf": {} }), json!({ "watch": {} })),
    ] {
        let mut function = Function::start(name, &sandbox).await?;
        let error = function.invoke(bad).await.expect_err(name).to_string();
        assert!(error.starts_with("the function failed: "), "{name}: {error}");
        function.invoke(good).await.context(name)?;
    }
    // A failure of what a function needs is one as well, where nobody else is told of it.
    let mut function = Function::start("reconcile", &sandbox).await?;
    let denied = json!([{ "service": "dynamodb", "kind": "access-denied", "times": 1_000 }]);
    sandbox.faults(serde_json::from_value(denied)?)?;
    let error = function.invoke(json!({ "watch": {} })).await.expect_err("denied");
    assert!(error.to_string().starts_with("the function failed: "), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_is_told_too_little_says_all_that_is_missing_and_ends() -> anyhow::Result<()> {
    for name in ["bill-dispatch", "api", "reconcile"] {
        let check = async |given: &[(&str, &str)], missing: &[&str]| -> anyhow::Result<()> {
            let simulator = Simulator::builder().function_name(name).build().await?;
            let ended = Command::new(program(name).await?)
                .env_clear()
                .envs(simulator.lambda_env_vars())
                .envs(given.iter().copied())
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .output();
            let ended = tokio::time::timeout(EXIT_WITHIN, ended).await;
            let output = ended.with_context(|| format!("{name} does not end"))??;
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success(), "{name}: {}", output.status);
            for variable in ["OUTBILL_TABLE", "OUTBILL_BILL_QUEUE_URL", "OUTBILL_M3TER_BASE_URL"] {
                assert_eq!(
                    said.contains(variable),
                    missing.contains(&variable),
                    "{name}, {variable}: {said}"
                );
            }
            Ok(())
        };
        check(&[], &["OUTBILL_TABLE", "OUTBILL_BILL_QUEUE_URL"]).await?;
        check(
            &[("OUTBILL_BILL_QUEUE_URL", "https://sqs.example/queue")],
            &["OUTBILL_TABLE"],
        )
        .await?;
        check(
            &[("OUTBILL_TABLE", "outbill"), ("OUTBILL_M3TER_BASE_URL", "m3ter")],
            &["OUTBILL_BILL_QUEUE_URL", "OUTBILL_M3TER_BASE_URL"],
        )
        .await?;
    }
    Ok(())
}
