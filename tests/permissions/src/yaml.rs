//! YAML with CloudFormation's short forms, as JSON with the long ones: `!Ref X` is `{"Ref": "X"}`, `!GetAtt A.B` is `{"Fn::GetAtt": ["A", "B"]}`.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Value, json};

/// Reads one document. The error says what cannot be read.
pub fn read(text: &str) -> Result<Value, String> {
    let documents = Yaml::load_from_str(text).map_err(|error| error.to_string())?;
    match documents.as_slice() {
        [document] => json(document),
        documents => Err(format!("a template is one YAML document, not {}", documents.len())),
    }
}

fn json(node: &Yaml<'_>) -> Result<Value, String> {
    match node {
        Yaml::Value(Scalar::Null) => Ok(Value::Null),
        Yaml::Value(Scalar::Boolean(value)) => Ok(json!(value)),
        Yaml::Value(Scalar::Integer(value)) => Ok(json!(value)),
        Yaml::Value(Scalar::String(value)) => Ok(json!(value)),
        Yaml::Sequence(items) => items.iter().map(json).collect(),
        Yaml::Mapping(fields) => {
            let field = |(name, value): (&Yaml<'_>, &Yaml<'_>)| match name {
                Yaml::Value(Scalar::String(name)) => Ok((name.to_string(), json(value)?)),
                name => Err(format!("a field's name is text, not {name:?}")),
            };
            fields
                .iter()
                .map(field)
                .collect::<Result<Map<_, _>, _>>()
                .map(Value::Object)
        }
        Yaml::Tagged(tag, value) => tagged(&tag.suffix, json(value)?),
        other => Err(format!("templates have no {other:?}")),
    }
}

fn tagged(tag: &str, value: Value) -> Result<Value, String> {
    let (name, value) = match (tag, value) {
        ("Ref" | "Condition", value) => (tag.to_owned(), value),
        ("GetAtt", Value::String(path)) => {
            let (resource, attribute) = path
                .split_once('.')
                .ok_or_else(|| format!("!GetAtt {path} has no point"))?;
            ("Fn::GetAtt".to_owned(), json!([resource, attribute]))
        }
        (
            "And" | "Base64" | "Equals" | "FindInMap" | "GetAtt" | "If" | "Join" | "Not" | "Or" | "Select" | "Split"
            | "Sub",
            value,
        ) => (format!("Fn::{tag}"), value),
        _ => return Err(format!("!{tag} is not known here")),
    };
    Ok(Value::Object(Map::from_iter([(name, value)])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_forms_are_read_as_long_ones() {
        let check = |yaml: &str, expect: Value| assert_eq!(read(yaml).unwrap(), expect, "{yaml}");
        check("a: !Ref Queue", json!({"a": {"Ref": "Queue"}}));
        check("- !GetAtt Queue.Arn", json!([{"Fn::GetAtt": ["Queue", "Arn"]}]));
        check("- !GetAtt [Queue, Arn]", json!([{"Fn::GetAtt": ["Queue", "Arn"]}]));
        check("a: !Sub \"x-${Y}\"", json!({"a": {"Fn::Sub": "x-${Y}"}}));
        check(
            "!If [Has, {Sid: A, Number: 5}, !Ref AWS::NoValue]",
            json!({"Fn::If": ["Has", {"Sid": "A", "Number": 5}, {"Ref": "AWS::NoValue"}]}),
        );
        check("a: '5'\nb: true\nc: ~", json!({"a": "5", "b": true, "c": null}));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (yaml, why) in [
            ("a: !Invent b", "!Invent"),
            ("!GetAtt Queue", "no point"),
            ("a: 1.5", "FloatingPoint"),
            ("1: a", "text"),
            ("a: b\n---\na: b", "2"),
            ("a: [", "expect"),
        ] {
            let error = read(yaml).unwrap_err();
            assert!(error.contains(why), "{yaml}: {error}");
        }
    }
}
