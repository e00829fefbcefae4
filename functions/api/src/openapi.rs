//! `GET /openapi.json`: the API described in OpenAPI 3.1, made of the table of [`crate::calls`] and the schemas of `schemas.json`.

use std::collections::BTreeMap;

use axum::Json;
use outbill::values::{configuration::DESTINATIONS, marketplace_configuration::SETTINGS, run::RunStatus};
use serde_json::{Map, Value, json};

use crate::{
    calls::{self, Access, Answer, Body, BodyKind, Operation, Parameter, ParameterKind},
    error::ApiError,
    names, notifications, options,
    token::FORM,
};

const SCHEMAS: &str = include_str!("schemas.json");
const JSON: &str = "application/json";

/// The description. It says nothing of any organization and needs no token.
pub(crate) async fn show() -> Result<Json<Value>, ApiError> {
    document().map(Json)
}

fn document() -> Result<Value, ApiError> {
    let mut schemas: Map<String, Value> =
        serde_json::from_str(SCHEMAS).map_err(|error| ApiError::internal(format!("schemas.json: {error}")))?;
    schemas.insert("ConfigData".to_owned(), options::schema());
    let operations = calls::all();
    let mut tags: Vec<&str> = operations.iter().map(|operation| operation.tag).collect();
    tags.dedup();
    let tags: Vec<Value> = tags.into_iter().map(|tag| json!({"name": tag})).collect();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for operation in operations {
        if let Some(Body {
            schema,
            kind: BodyKind::Update,
        }) = operation.body
        {
            let updated = with_version(schemas.get(schema).cloned().unwrap_or_default());
            schemas.insert(update_name(schema), updated);
        }
        paths
            .entry(operation.path.clone())
            .or_default()
            .insert(operation.method.as_str().to_lowercase(), describe(&operation));
    }
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Outbill",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "m3ter's integration API, answered by Outbill, and Outbill's additions to it. Every success is 200 (what is put on a queue: 202), every error has a message. Everything but the token itself, this description and m3ter's notifications needs a token of the organization in the path; without one, or with another organization's, everything is 403.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": tags,
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "accessKey": {"type": "http", "scheme": "basic"},
                "notificationKey": {"type": "apiKey", "in": "header", "name": notifications::KEY_HEADER},
            },
            "schemas": schemas,
        },
    }))
}

/// The body of an update is that of a creation, with the version that was read.
fn with_version(mut schema: Value) -> Value {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let version = json!({"type": "integer", "format": "int64", "minimum": 1,
            "description": "The version that you have read; another one is refused."});
        properties.insert("version".to_owned(), version);
    }
    match schema.get_mut("required").and_then(Value::as_array_mut) {
        Some(required) => required.push(json!("version")),
        None => schema["required"] = json!(["version"]),
    }
    schema
}

fn update_name(schema: &str) -> String {
    format!("{schema}WithVersion")
}

fn describe(operation: &Operation) -> Value {
    let names = path_parameters(&operation.path);
    let path = names.iter().map(|name| {
        let mut schema = json!({"type": "string", "minLength": 1});
        if let Some(known) = path_values(name) {
            schema["enum"] = known;
        }
        json!({"name": name, "in": "path", "required": true, "schema": schema, "description": path_description(name)})
    });
    let parameters: Vec<Value> = path.chain(operation.query.iter().map(query_parameter)).collect();
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": parameters,
        "responses": responses(operation),
    });
    let is_in_path = operation.path.ends_with("/{key}");
    described["security"] = match operation.access {
        Access::Token(_) => json!([{"token": []}]),
        Access::Basic => json!([{"accessKey": []}]),
        Access::NotificationKey if !is_in_path => json!([{"notificationKey": []}]),
        Access::NotificationKey | Access::Open => json!([]),
    };
    if let Access::Token(permission) = operation.access {
        described["x-permission"] = json!(permission);
    }
    if let Some(body) = operation.body {
        described["requestBody"] = request_body(body);
    }
    described
}

fn path_parameters(path: &str) -> Vec<&str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .collect()
}

/// What can stand in a path, where that is known.
fn path_values(name: &str) -> Option<Value> {
    match name {
        "entityType" => Some(json!(names::ENTITY_TYPES)),
        "destination" | "systemName" => Some(json!(DESTINATIONS)),
        "configOption" => Some(json!(SETTINGS)),
        _ => None,
    }
}

fn path_description(name: &str) -> &'static str {
    match name {
        "orgId" => "The organization: the one of the token.",
        "key" => "The organization's key of notifications.",
        "entityType" => "The type of entity, such as Bill; upper and lower case count the same.",
        "destination" | "systemName" => "The system, such as AWS; upper and lower case count the same.",
        _ => "",
    }
}

fn query_parameter(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        ParameterKind::Text => json!({"type": "string"}),
        ParameterKind::TextRequired => json!({"type": "string", "minLength": 1}),
        ParameterKind::ShortText(most) => json!({"type": "string", "maxLength": most}),
        ParameterKind::Flag => json!({"type": "boolean"}),
        ParameterKind::Date => json!({"type": "string", "format": "date"}),
        ParameterKind::Instant => json!({"anyOf": [
            {"type": "string", "format": "date-time"}, {"type": "string", "format": "date"}]}),
        ParameterKind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        ParameterKind::TextsRequired => {
            json!({"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1})
        }
        ParameterKind::RunStatus => {
            json!({"type": "string", "enum": RunStatus::ALL.iter().map(|known| known.name()).collect::<Vec<_>>()})
        }
        ParameterKind::Choice(known) => json!({"type": "string", "enum": known}),
        ParameterKind::PageSize(most) => {
            json!({"type": "integer", "format": "int32", "minimum": 1, "maximum": most})
        }
    };
    json!({
        "name": parameter.name,
        "in": "query",
        "required": matches!(parameter.kind, ParameterKind::TextsRequired | ParameterKind::TextRequired),
        "schema": schema,
        "description": parameter.description,
    })
}

fn request_body(body: Body) -> Value {
    let name = match body.kind {
        BodyKind::Update => update_name(body.schema),
        BodyKind::Required | BodyKind::Optional | BodyKind::JsonOrForm => body.schema.to_owned(),
    };
    let content = json!({"schema": reference(&name)});
    let content = match body.kind {
        BodyKind::JsonOrForm => json!({JSON: content, FORM: content}),
        BodyKind::Required | BodyKind::Optional | BodyKind::Update => json!({JSON: content}),
    };
    json!({"required": body.kind != BodyKind::Optional, "content": content})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn responses(operation: &Operation) -> Value {
    let (status, schema, description) = match operation.answer {
        Answer::One(schema) => ("200", reference(schema), "It is done; this is how it is now."),
        Answer::List(schema) => (
            "200",
            json!({"type": "array", "items": reference(schema)}),
            "All of them.",
        ),
        Answer::Page(schema) => ("200", page_of(schema), "A page; without nextToken it is the last."),
        Answer::Queued(schema) => ("202", reference(schema), "It is on the queue."),
        Answer::Report(schema) => (
            "200",
            reference(schema),
            "As JSON, or as a page that a person can read.",
        ),
    };
    let text = json!({"schema": {"type": "string"}});
    let content = match operation.answer {
        Answer::Report(_) => json!({JSON: {"schema": schema}, "text/plain": text, "text/html": text}),
        Answer::One(_) | Answer::List(_) | Answer::Page(_) | Answer::Queued(_) => json!({JSON: {"schema": schema}}),
    };
    let good = json!({"description": description, "content": content});
    let mut responses = Map::from_iter([(status.to_owned(), good)]);
    for (status, description) in errors(operation) {
        let content = json!({JSON: {"schema": reference("Error")}});
        responses.insert(
            status.to_owned(),
            json!({"description": description, "content": content}),
        );
    }
    Value::Object(responses)
}

fn page_of(schema: &str) -> Value {
    json!({
        "type": "object",
        "required": ["data"],
        "additionalProperties": false,
        "properties": {
            "data": {"type": "array", "items": reference(schema)},
            "nextToken": {"type": "string", "minLength": 1},
        },
    })
}

fn errors(operation: &Operation) -> Vec<(&'static str, &'static str)> {
    let is_in_query = |parameter: &Parameter| matches!(parameter.kind, ParameterKind::TextRequired);
    let is_about_one =
        path_parameters(&operation.path).iter().any(|name| *name != "orgId") || operation.query.iter().any(is_in_query);
    let can_be_refused = operation.access != Access::Open;
    let can_be_large = operation.body.is_some() || operation.id == "GetIntegrationRunLogs";
    let all = [
        (
            can_be_refused,
            "400",
            "Something given is wrong; the message names it and the way out.",
        ),
        (
            can_be_refused,
            "403",
            "The token is not valid, not of this organization, or lacks a permission.",
        ),
        (is_about_one, "404", "There is no such thing."),
        (can_be_large, "413", "More than six megabytes."),
        (
            operation.path == "/oauth/token",
            "429",
            "Too many failures; try again after Retry-After seconds.",
        ),
        (
            true,
            "5XX",
            "Outbill, or a service that it needs, did not succeed; try again.",
        ),
    ];
    all.into_iter()
        .filter(|(applies, ..)| *applies)
        .map(|(_, status, description)| (status, description))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(name)) = fields.get("$ref") {
                    found.insert(name.trim_start_matches("#/components/schemas/").to_owned());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_schema_is_there_and_used() {
        let document = document().unwrap();
        let mut used = BTreeSet::new();
        references(&document, &mut used);
        let there: BTreeSet<String> = document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        assert_eq!(used, there);
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_and_says_what_it_does() {
        let operations = calls::all();
        let ids: BTreeSet<&str> = operations.iter().map(|operation| operation.id).collect();
        assert_eq!(ids.len(), operations.len());
        for operation in &operations {
            assert!(operation.summary.ends_with('.'), "{}", operation.id);
            assert!(!matches!(operation.answer, Answer::One("Error")), "{}", operation.id);
        }
    }
}
