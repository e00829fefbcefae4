//! The environment variables of the functions, read in one place. Every one that is missing or bad is reported at once.
//!
//! Addresses of AWS services are not among them: the SDK reads its own (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_DYNAMODB`, …).

/// What the functions are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// `OUTBILL_TABLE`: the DynamoDB table.
    pub table: String,
    /// `OUTBILL_BILL_QUEUE_URL`: the queue that bills arrive on.
    pub bill_queue_url: String,
    /// `OUTBILL_SECRET_PREFIX`: what the names of Outbill's secrets start with; `outbill/` by default.
    pub secret_prefix: String,
    /// `OUTBILL_M3TER_BASE_URL`: m3ter, without a slash at the end; m3ter's own by default.
    pub m3ter_base_url: String,
    /// `OUTBILL_ALERT_SENDER`: the address that mails come from. Empty: no mail.
    pub alert_sender: String,
    /// `OUTBILL_LOG`: a filter of tracing; `info` by default.
    pub log: String,
}

/// One variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} {problem}")]
pub struct EnvironmentError {
    /// Its name.
    pub variable: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Everything that is wrong with the environment; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(EnvironmentError::to_string).collect::<Vec<_>>().join("; "))]
pub struct EnvironmentErrors(pub Vec<EnvironmentError>);

/// The span that `lambda_runtime` opens for an invocation, with its request's and its trace's ids.
const INVOCATION: &str = "lambda_runtime::layers::trace=info";

/// Outbill's own crates. What they write holds no credentials at any level.
const OWN_CRATES: [&str; 4] = ["outbill", "api", "bill_dispatch", "reconcile"];

/// The levels of tracing; each is also known by its place.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
const INFO: usize = 3;

impl Environment {
    /// The filter of the log, with the ids of the invocation on every line that it lets through, however little that is.
    ///
    /// Beyond `info` it lets Outbill's own lines through and nobody else's, whatever `OUTBILL_LOG` says: at `trace` the
    /// Lambda runtime writes down what it was called with and AWS's SDK what it sends, both with tokens. A directive at
    /// the end would not hold them back, because of two for one line that with the longer target counts.
    pub fn log_filter(&self) -> String {
        let (levels, targets): (Vec<&str>, Vec<&str>) = self
            .log
            .split(',')
            .partition(|directive| level_number(directive).is_some());
        // What is said of a target counts, whatever is said of all; of what is said of all, the last.
        let all = levels.last().map(|level| held_for_all(level)).into_iter().flatten();
        let filter = all.chain(targets.into_iter().map(held)).chain([INVOCATION.to_owned()]);
        filter.collect::<Vec<_>>().join(",")
    }

    /// Reads the variables through `variable`. Errors: every one that is missing or bad.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Environment, EnvironmentErrors> {
        let mut errors = Vec::new();
        let mut refuse = |variable, problem: String| errors.push(EnvironmentError { variable, problem });
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());

        let table = given("OUTBILL_TABLE").unwrap_or_else(|| {
            refuse(
                "OUTBILL_TABLE",
                "is missing: give the name of the DynamoDB table".to_owned(),
            );
            String::new()
        });
        let bill_queue_url = given("OUTBILL_BILL_QUEUE_URL").unwrap_or_else(|| {
            refuse(
                "OUTBILL_BILL_QUEUE_URL",
                "is missing: give the URL of the bill queue".to_owned(),
            );
            String::new()
        });
        if !bill_queue_url.is_empty() && !is_url(&bill_queue_url) {
            refuse(
                "OUTBILL_BILL_QUEUE_URL",
                format!("is {bill_queue_url:?}: give the queue's URL, https://…"),
            );
        }
        let secret_prefix = given("OUTBILL_SECRET_PREFIX").unwrap_or_else(|| "outbill/".to_owned());
        if !secret_prefix
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "/_+=.@-".contains(character))
        {
            let problem = format!("is {secret_prefix:?}: a secret's name has letters, digits and any of /_+=.@-");
            refuse("OUTBILL_SECRET_PREFIX", problem);
        }
        let m3ter_base_url = given("OUTBILL_M3TER_BASE_URL").unwrap_or_else(|| "https://api.m3ter.com".to_owned());
        if !is_url(&m3ter_base_url) {
            refuse(
                "OUTBILL_M3TER_BASE_URL",
                format!("is {m3ter_base_url:?}: give a URL, https://…"),
            );
        }
        let alert_sender = given("OUTBILL_ALERT_SENDER").unwrap_or_default();
        if !alert_sender.is_empty() && !alert_sender.contains('@') {
            let problem = format!("is {alert_sender:?}: give an address that SES may send from, or leave it empty");
            refuse("OUTBILL_ALERT_SENDER", problem);
        }
        let environment = Environment {
            table,
            bill_queue_url,
            secret_prefix,
            m3ter_base_url: m3ter_base_url.trim_end_matches('/').to_owned(),
            alert_sender,
            log: given("OUTBILL_LOG").unwrap_or_else(|| "info".to_owned()),
        };
        if errors.is_empty() {
            Ok(environment)
        } else {
            Err(EnvironmentErrors(errors))
        }
    }
}

fn held_for_all(level: &str) -> Vec<String> {
    if level_number(level).is_none_or(|number| number <= INFO) {
        return vec![level.to_owned()];
    }
    let own = OWN_CRATES.iter().map(|own| format!("{own}={level}"));
    own.chain(["info".to_owned()]).collect()
}

/// A directive with a target. Without a level it means `trace`; with one that is none it stays, for tracing to refuse.
fn held(directive: &str) -> String {
    let (target, level) = directive.split_once('=').unwrap_or((directive, "trace"));
    let is_own = target.split("::").next().is_some_and(|name| OWN_CRATES.contains(&name));
    if is_own || level_number(level).is_none_or(|number| number <= INFO) {
        return directive.to_owned();
    }
    format!("{target}=info")
}

/// The number of a level as tracing reads it: the number itself, the name in any case, or nothing for `error`.
/// None: it is no level.
fn level_number(text: &str) -> Option<usize> {
    match text.parse::<usize>() {
        Ok(number) => Some(number).filter(|number| *number < LEVELS.len()),
        Err(_) if text.is_empty() => Some(1),
        Err(_) => LEVELS.iter().position(|level| text.eq_ignore_ascii_case(level)),
    }
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(char::is_whitespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Environment, EnvironmentErrors> {
        Environment::read(|name| {
            given
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    const LEAST: [(&str, &str); 2] = [
        ("OUTBILL_TABLE", "bills"),
        ("OUTBILL_BILL_QUEUE_URL", "https://sqs.example/q"),
    ];

    #[test]
    fn two_variables_are_enough() {
        let environment = read(&LEAST).unwrap();
        assert_eq!(environment.secret_prefix, "outbill/");
        assert_eq!(environment.m3ter_base_url, "https://api.m3ter.com");
        assert_eq!(
            (environment.alert_sender.as_str(), environment.log.as_str()),
            ("", "info")
        );
    }

    #[test]
    fn others_write_no_more_than_info() {
        let check = |log: &str, expect: &str| {
            let environment = read(&[LEAST[0], LEAST[1], ("OUTBILL_LOG", log)]).unwrap();
            let expect = format!("{expect},lambda_runtime::layers::trace=info");
            assert_eq!(environment.log_filter(), expect, "{log}");
        };
        check("info", "info");
        check("WARN,outbill=debug", "WARN,outbill=debug");
        check("off,hyper=2,h2=", "off,hyper=2,h2=");
        // What is said of all, and of a target without a level.
        let own = |level: &str| format!("outbill={level},api={level},bill_dispatch={level},reconcile={level},info");
        check("trace", &own("trace"));
        check("Debug", &own("Debug"));
        check("outbill=warn,info,05", &format!("{},outbill=warn", own("05")));
        check("trace,info", "info");
        check("hyper_util,outbill::stories", "hyper_util=info,outbill::stories");
        // However long the target is.
        check(
            "warn,lambda_runtime::layers::api_response=trace,aws_smithy_runtime::client=4,reconcile=5,out=debug",
            "warn,lambda_runtime::layers::api_response=info,aws_smithy_runtime::client=info,reconcile=5,out=info",
        );
        check("aws_sigv4=TRACE,=trace", "aws_sigv4=info,=info");
        // What tracing refuses.
        check("a=b=trace,a=loud", "a=b=trace,a=loud");
    }

    #[test]
    fn every_bad_variable_is_reported_at_once() {
        let check = |given: &[(&str, &str)], expect: &[&str]| {
            let errors = read(given).err().map_or_else(Vec::new, |errors| errors.0);
            assert_eq!(
                errors.iter().map(|error| error.variable).collect::<Vec<_>>(),
                expect,
                "{given:?}"
            );
        };
        check(&LEAST, &[]);
        check(&[], &["OUTBILL_TABLE", "OUTBILL_BILL_QUEUE_URL"]);
        check(&[("OUTBILL_TABLE", ""), LEAST[1]], &["OUTBILL_TABLE"]);
        check(
            &[
                LEAST[0],
                ("OUTBILL_BILL_QUEUE_URL", "queue"),
                ("OUTBILL_SECRET_PREFIX", "a b"),
                ("OUTBILL_M3TER_BASE_URL", "m3ter"),
                ("OUTBILL_ALERT_SENDER", "me"),
            ],
            &[
                "OUTBILL_BILL_QUEUE_URL",
                "OUTBILL_SECRET_PREFIX",
                "OUTBILL_M3TER_BASE_URL",
                "OUTBILL_ALERT_SENDER",
            ],
        );
    }
}
