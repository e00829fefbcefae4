//! IAM's judgement of one request under the policies of one role.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

/// What a caller wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Such as `dynamodb:PutItem`.
    pub action: String,
    /// An ARN, or `*` for an action that knows no resources.
    pub resource: String,
    /// Condition keys and their values.
    pub context: BTreeMap<String, String>,
}

impl Request {
    /// Without condition keys.
    pub fn new(action: impl Into<String>, resource: impl Into<String>) -> Request {
        Request {
            action: action.into(),
            resource: resource.into(),
            context: BTreeMap::new(),
        }
    }
}

/// One action on one resource of one statement: the smallest thing that a policy gives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Grant {
    /// The statement.
    pub sid: String,
    /// The action, without wildcards.
    pub action: String,
    /// The resource as the statement has it.
    pub resource: String,
}

impl fmt::Display for Grant {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} on {}", self.sid, self.action, self.resource)
    }
}

/// What IAM says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// This grant allows it, the first that does.
    Allowed(Grant),
    /// Nothing does.
    NotAllowed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Statement {
    sid: String,
    actions: Vec<String>,
    resources: Vec<String>,
    /// Key and the value that it must have.
    equals: Vec<(String, String)>,
}

/// Everything that one role may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// Adds a policy document whose references are resolved. The error says which part this judgement does not know.
    pub fn add(&mut self, document: &Value) -> Result<(), String> {
        for statement in many(document.get("Statement")) {
            self.statements.push(read(statement)?);
        }
        Ok(())
    }

    /// Judges a request.
    pub fn judge(&self, request: &Request) -> Verdict {
        for statement in &self.statements {
            let holds = |(key, value): &(String, String)| request.context.get(key) == Some(value);
            if !statement.equals.iter().all(holds) {
                continue;
            }
            let action = statement
                .actions
                .iter()
                .find(|action| action.eq_ignore_ascii_case(&request.action));
            let resource = statement
                .resources
                .iter()
                .find(|resource| matches(resource, &request.resource));
            if let (Some(action), Some(resource)) = (action, resource) {
                return Verdict::Allowed(Grant {
                    sid: statement.sid.clone(),
                    action: action.clone(),
                    resource: resource.clone(),
                });
            }
        }
        Verdict::NotAllowed
    }

    /// Everything that is given, grant by grant.
    pub fn grants(&self) -> Vec<Grant> {
        let of = |statement: &Statement| {
            let mut grants = Vec::new();
            for action in &statement.actions {
                grants.extend(statement.resources.iter().map(|resource| Grant {
                    sid: statement.sid.clone(),
                    action: action.clone(),
                    resource: resource.clone(),
                }));
            }
            grants
        };
        self.statements.iter().flat_map(of).collect()
    }
}

fn read(statement: &Value) -> Result<Statement, String> {
    let fields = statement.as_object().ok_or("a statement is an object")?;
    let sid = fields.get("Sid").and_then(Value::as_str);
    let sid = sid
        .ok_or("every statement has a Sid, so that a finding can name it")?
        .to_owned();
    for name in fields.keys() {
        if !["Sid", "Effect", "Action", "Resource", "Condition"].contains(&name.as_str()) {
            return Err(format!("statement {sid}: {name} is not judged here"));
        }
    }
    if fields.get("Effect").and_then(Value::as_str) != Some("Allow") {
        return Err(format!("statement {sid}: only Allow is judged here"));
    }
    let texts = |name: &str| {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let texts: Option<Vec<String>> = many(fields.get(name)).map(text).collect();
        texts
            .filter(|texts| !texts.is_empty())
            .ok_or_else(|| format!("statement {sid}: {name} is a text or a list of texts"))
    };
    let actions = texts("Action")?;
    if let Some(wide) = actions.iter().find(|action| action.contains(['*', '?'])) {
        return Err(format!(
            "statement {sid}: {wide} gives more than is known; name each action"
        ));
    }
    let mut equals = Vec::new();
    for (operator, keys) in fields.get("Condition").and_then(Value::as_object).into_iter().flatten() {
        if operator != "StringEquals" {
            return Err(format!("statement {sid}: the condition {operator} is not judged here"));
        }
        for (key, value) in keys.as_object().into_iter().flatten() {
            let value = value.as_str();
            let value = value.ok_or_else(|| format!("statement {sid}: {key} is compared with one text"))?;
            equals.push((key.clone(), value.to_owned()));
        }
    }
    Ok(Statement {
        actions,
        resources: texts("Resource")?,
        equals,
        sid,
    })
}

fn many(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    match value {
        None => [].iter(),
        Some(Value::Array(values)) => values.iter(),
        Some(value) => std::slice::from_ref(value).iter(),
    }
}

/// Whether a text is one that a pattern means: `*` is any characters, `?` any one.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut seen) = (0, 0);
    // Where the last star was, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(b'?') => (at, seen) = (at + 1, seen + 1),
            Some(byte) if *byte == text[seen] => (at, seen) = (at + 1, seen + 1),
            _ => match star {
                Some((place, taken)) => {
                    star = Some((place, taken + 1));
                    (at, seen) = (place + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(statements: Value) -> Result<Policy, String> {
        let mut policy = Policy::default();
        policy.add(&json!({ "Version": "2012-10-17", "Statement": statements }))?;
        Ok(policy)
    }

    #[test]
    fn stars_and_question_marks_match_as_in_iam() {
        for (pattern, text, expect) in [
            ("*", "", true),
            ("*", "anything:at/all", true),
            ("arn:a", "arn:a", true),
            ("arn:a", "arn:ab", false),
            ("arn:a*", "arn:ab", true),
            ("secret:*/m3ter-??????", "secret:org/m3ter-a1b2c3", true),
            ("secret:*/m3ter-??????", "secret:org/m3ter-a1b2c", false),
            ("secret:*/m3ter", "secret:org/webhook", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("?", "", false),
            ("", "", true),
        ] {
            assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        }
    }

    #[test]
    fn a_request_needs_action_resource_and_condition_of_one_statement() {
        let policy = policy(json!([
            {"Sid": "Table", "Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:PutItem"], "Resource": ["table/a", "table/a/index/*"]},
            {"Sid": "Mail", "Effect": "Allow", "Action": "ses:SendEmail", "Resource": "identity/*", "Condition": {"StringEquals": {"ses:FromAddress": "a@b"}}},
        ]))
        .unwrap();
        let judge = |action: &str, resource: &str, from: Option<&str>| {
            let mut request = Request::new(action, resource);
            request
                .context
                .extend(from.map(|from| ("ses:FromAddress".to_owned(), from.to_owned())));
            match policy.judge(&request) {
                Verdict::Allowed(grant) => grant.to_string(),
                Verdict::NotAllowed => String::new(),
            }
        };
        assert_eq!(
            judge("dynamodb:putitem", "table/a", None),
            "Table: dynamodb:PutItem on table/a"
        );
        assert_eq!(
            judge("dynamodb:GetItem", "table/a/index/w", None),
            "Table: dynamodb:GetItem on table/a/index/*"
        );
        assert_eq!(judge("dynamodb:GetItem", "table/b", None), "");
        assert_eq!(judge("dynamodb:DeleteItem", "table/a", None), "");
        assert_eq!(
            judge("ses:SendEmail", "identity/b", Some("a@b")),
            "Mail: ses:SendEmail on identity/*"
        );
        assert_eq!(judge("ses:SendEmail", "identity/b", Some("c@b")), "");
        assert_eq!(judge("ses:SendEmail", "identity/b", None), "");
        assert_eq!(policy.grants().len(), 5);
    }

    #[test]
    fn what_is_not_judged_is_refused() {
        let good = json!({"Sid": "S", "Effect": "Allow", "Action": "a:B", "Resource": "*"});
        policy(json!([good])).unwrap();
        for (field, value, why) in [
            ("Sid", Value::Null, "Sid"),
            ("Effect", json!("Deny"), "only Allow"),
            ("Action", json!("dynamodb:*"), "name each action"),
            ("Action", json!([]), "Action is a text"),
            ("Resource", json!([{"Ref": "Table"}]), "Resource is a text"),
            ("NotAction", json!("a:C"), "NotAction"),
            ("Condition", json!({"StringLike": {"a:b": "c"}}), "StringLike"),
            ("Condition", json!({"StringEquals": {"a:b": ["c", "d"]}}), "one text"),
        ] {
            let mut statement = good.clone();
            statement[field] = value;
            let error = policy(json!([statement])).unwrap_err();
            assert!(error.contains(why), "{statement}: {error}");
        }
    }
}
