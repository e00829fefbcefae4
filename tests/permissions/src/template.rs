//! A template resolved for one stack, and the role of each of its functions.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::policy::Policy;
use crate::yaml;

const NO_VALUE: &str = "AWS::NoValue";

/// Why a template's policies cannot be known.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    /// It is not YAML as CloudFormation reads it.
    #[error("the template cannot be read: {0}")]
    Unreadable(String),
    /// It names something that the stack was not told of.
    #[error("{0} is referred to, and the stack has no value for it: give it one, or correct the template")]
    Unknown(String),
    /// It has a form that is not understood.
    #[error("{place}: {why}")]
    Form {
        /// Where.
        place: String,
        /// What is wrong with it.
        why: String,
    },
}

/// What a template is resolved with.
#[derive(Debug, Clone, Default)]
pub struct Stack {
    /// Parameters; those that are not given have their defaults.
    pub parameters: BTreeMap<String, String>,
    /// What `Ref` and `GetAtt` give: `AWS::Region`, `Table`, `Table.Arn`.
    pub names: BTreeMap<String, String>,
}

/// A template as it is written.
#[derive(Debug, Clone)]
pub struct Template {
    document: Value,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let document = yaml::read(text).map_err(TemplateError::Unreadable)?;
        Ok(Template { document })
    }

    /// What each function may do, by its logical id.
    ///
    /// Every function must name a role of the template's own: to one without, SAM attaches AWS's managed policies, which allow more than
    /// can be seen here.
    pub fn policies(&self, stack: &Stack) -> Result<BTreeMap<String, Policy>, TemplateError> {
        let resources = self.document.get("Resources").and_then(Value::as_object);
        let is_function = |resource: &Value| {
            let kind = resource.get("Type").and_then(Value::as_str);
            matches!(kind, Some("AWS::Serverless::Function" | "AWS::Lambda::Function"))
        };
        let mut policies = BTreeMap::new();
        for (id, function) in resources
            .into_iter()
            .flatten()
            .filter(|(_, resource)| is_function(resource))
        {
            let form = |why: &str| TemplateError::Form {
                place: id.clone(),
                why: why.to_owned(),
            };
            if function.pointer("/Properties/Policies").is_some() {
                return Err(form("has Policies, to which SAM adds managed ones; give it a Role"));
            }
            let role = function
                .pointer("/Properties/Role/Fn::GetAtt/0")
                .and_then(Value::as_str);
            let role = role.ok_or_else(|| form("needs a Role: !GetAtt of a role of this template"))?;
            policies.insert(id.clone(), self.role(role, stack)?);
        }
        Ok(policies)
    }

    fn role(&self, id: &str, stack: &Stack) -> Result<Policy, TemplateError> {
        let form = |why: String| TemplateError::Form {
            place: id.to_owned(),
            why,
        };
        let role = self.document.pointer(&format!("/Resources/{id}"));
        let role = role.filter(|role| role.get("Type").and_then(Value::as_str) == Some("AWS::IAM::Role"));
        let role = role.ok_or_else(|| form("is no AWS::IAM::Role of this template".to_owned()))?;
        if role.pointer("/Properties/ManagedPolicyArns").is_some() {
            return Err(form(
                "has ManagedPolicyArns, which cannot be judged here; write out what is needed".to_owned(),
            ));
        }
        let listed = role.pointer("/Properties/Policies").cloned().unwrap_or(Value::Null);
        let mut policy = Policy::default();
        for named in self
            .resolve(&listed, stack)?
            .and_then(|list| list.as_array().cloned())
            .into_iter()
            .flatten()
        {
            let document = named
                .get("PolicyDocument")
                .ok_or_else(|| form("a policy has no PolicyDocument".to_owned()))?;
            policy.add(document).map_err(form)?;
        }
        Ok(policy)
    }

    /// A value with its references resolved; none: it is `AWS::NoValue`.
    fn resolve(&self, value: &Value, stack: &Stack) -> Result<Option<Value>, TemplateError> {
        match value {
            Value::Array(values) => {
                let mut resolved = Vec::new();
                for value in values {
                    resolved.extend(self.resolve(value, stack)?);
                }
                Ok(Some(Value::Array(resolved)))
            }
            Value::Object(fields) => {
                if let Some((name, argument)) = only(fields)
                    && (name == "Ref" || name.starts_with("Fn::"))
                {
                    return self.call(name, argument, stack);
                }
                let mut resolved = Map::new();
                for (name, value) in fields {
                    if let Some(value) = self.resolve(value, stack)? {
                        resolved.insert(name.clone(), value);
                    }
                }
                Ok(Some(Value::Object(resolved)))
            }
            plain => Ok(Some(plain.clone())),
        }
    }

    fn call(&self, function: &str, argument: &Value, stack: &Stack) -> Result<Option<Value>, TemplateError> {
        let form = || TemplateError::Form {
            place: function.to_owned(),
            why: format!("{argument} is not understood here"),
        };
        match (function, argument) {
            ("Ref", Value::String(name)) if name == NO_VALUE => Ok(None),
            ("Ref", Value::String(name)) => self.named(name, stack).map(Value::String).map(Some),
            ("Fn::GetAtt", Value::Array(path)) => {
                let path: Option<Vec<&str>> = path.iter().map(Value::as_str).collect();
                let name = path.ok_or_else(form)?.join(".");
                self.named(&name, stack).map(Value::String).map(Some)
            }
            ("Fn::Sub", Value::String(text)) => self.substitute(text, stack).map(Value::String).map(Some),
            ("Fn::If", Value::Array(parts)) => match parts.as_slice() {
                [Value::String(condition), then, otherwise] => {
                    let taken = if self.condition(condition, stack)? {
                        then
                    } else {
                        otherwise
                    };
                    self.resolve(taken, stack)
                }
                _ => Err(form()),
            },
            _ => Err(form()),
        }
    }

    fn condition(&self, name: &str, stack: &Stack) -> Result<bool, TemplateError> {
        let condition = self.document.pointer(&format!("/Conditions/{name}"));
        let condition = condition.ok_or_else(|| TemplateError::Unknown(format!("the condition {name}")))?;
        self.holds(condition, stack)
    }

    fn holds(&self, condition: &Value, stack: &Stack) -> Result<bool, TemplateError> {
        let form = || TemplateError::Form {
            place: "Conditions".to_owned(),
            why: format!("{condition} is not understood here"),
        };
        let (name, argument) = condition.as_object().and_then(only).ok_or_else(form)?;
        match (name.as_str(), argument) {
            ("Condition", Value::String(name)) => self.condition(name, stack),
            ("Fn::Not", Value::Array(parts)) => match parts.as_slice() {
                [part] => Ok(!self.holds(part, stack)?),
                _ => Err(form()),
            },
            ("Fn::Equals", Value::Array(parts)) => match parts.as_slice() {
                [one, other] => Ok(self.resolve(one, stack)? == self.resolve(other, stack)?),
                _ => Err(form()),
            },
            _ => Err(form()),
        }
    }

    fn substitute(&self, text: &str, stack: &Stack) -> Result<String, TemplateError> {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}').ok_or_else(|| TemplateError::Form {
                place: "Fn::Sub".to_owned(),
                why: format!("{text} has a ${{ without its }}"),
            })?;
            whole.push_str(before);
            whole.push_str(&self.named(name, stack)?);
            rest = after;
        }
        whole.push_str(rest);
        Ok(whole)
    }

    fn named(&self, name: &str, stack: &Stack) -> Result<String, TemplateError> {
        if let Some(value) = stack.parameters.get(name).or_else(|| stack.names.get(name)) {
            return Ok(value.clone());
        }
        let default = self.document.pointer(&format!("/Parameters/{name}/Default"));
        match default {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => Err(TemplateError::Unknown(name.to_owned())),
        }
    }
}

fn only(fields: &Map<String, Value>) -> Option<(&String, &Value)> {
    let mut fields = fields.iter();
    fields.next().filter(|_| fields.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"
Parameters:
  Prefix: { Type: String, Default: outbill/ }
  Role: { Type: String, Default: "" }
Conditions:
  HasRole: !Not [!Equals [!Ref Role, ""]]
Resources:
  Work:
    Type: AWS::Serverless::Function
    Properties: { Role: !GetAtt WorkRole.Arn }
  WorkRole:
    Type: AWS::IAM::Role
    Properties:
      Policies:
        - PolicyName: Work
          PolicyDocument:
            Statement:
              - { Sid: Table, Effect: Allow, Action: "dynamodb:GetItem", Resource: [!GetAtt Table.Arn, !Sub "${Table.Arn}/index/work"] }
              - { Sid: Secret, Effect: Allow, Action: "secretsmanager:GetSecretValue", Resource: !Sub "arn:${AWS::Region}:${Prefix}*" }
              - !If [HasRole, { Sid: Role, Effect: Allow, Action: "sts:AssumeRole", Resource: !Ref Role }, !Ref AWS::NoValue]
  Table:
    Type: AWS::DynamoDB::Table
"#;

    fn stack(role: &str) -> Stack {
        let pairs = |pairs: &[(&str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            pairs.iter().map(owned).collect()
        };
        Stack {
            parameters: pairs(&[("Role", role)]),
            names: pairs(&[("Table.Arn", "arn:table"), ("AWS::Region", "us-east-1")]),
        }
    }

    fn grants(template: &str, role: &str) -> Result<Vec<String>, TemplateError> {
        let policies = Template::parse(template)?.policies(&stack(role))?;
        Ok(policies["Work"].grants().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn references_and_conditions_are_resolved() {
        let mut expect = vec![
            "Table: dynamodb:GetItem on arn:table",
            "Table: dynamodb:GetItem on arn:table/index/work",
            "Secret: secretsmanager:GetSecretValue on arn:us-east-1:outbill/*",
        ];
        assert_eq!(grants(TEMPLATE, "").unwrap(), expect);
        expect.push("Role: sts:AssumeRole on Metering");
        assert_eq!(grants(TEMPLATE, "Metering").unwrap(), expect);
    }

    #[test]
    fn what_cannot_be_known_is_an_error() {
        for (right, wrong, why) in [
            ("!GetAtt Table.Arn", "!GetAtt Table.Name", "Table.Name"),
            ("${Prefix}", "${Perfix}", "Perfix"),
            ("${Prefix}", "${Prefix", "without its }"),
            ("!Ref Role }, !Ref", "!Select [0, !Ref Role] }, !Ref", "Fn::Select"),
            ("[HasRole,", "[HasRoles,", "HasRoles"),
            (
                "Role: !GetAtt WorkRole.Arn",
                "Policies: [AWSLambdaBasicExecutionRole]",
                "managed",
            ),
            (
                "Role: !GetAtt WorkRole.Arn",
                "Role: !GetAtt Table.Arn",
                "no AWS::IAM::Role",
            ),
            ("Role: !GetAtt WorkRole.Arn", "Timeout: 5", "needs a Role"),
            (
                "      Policies:",
                "      ManagedPolicyArns: [arn]\n      Policies:",
                "ManagedPolicyArns",
            ),
            ("\"dynamodb:GetItem\"", "\"dynamodb:*\"", "name each action"),
        ] {
            let spoilt = TEMPLATE.replace(right, wrong);
            assert_ne!(spoilt, TEMPLATE, "{right}");
            let error = grants(&spoilt, "Metering").unwrap_err().to_string();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }
}
