//! `docs/api.md` is made of `GET /openapi.json`: this test writes it anew when `OUTBILL_WRITE` is set, and otherwise checks that it is current.

mod common;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use axum::{body::Body, http::Request};
use common::api;
use serde_json::{Map, Value};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
const INTRODUCTION: &str = "# API reference

Made of `GET /openapi.json`; do not edit it by hand. `OUTBILL_WRITE=1 cargo test -p api --test reference` makes it anew.

";

#[tokio::test]
async fn the_reference_page_is_current() {
    let api = api().await;
    let request = Request::get("/openapi.json").body(Body::empty()).unwrap();
    let (status, document) = api.send(request).await;
    assert_eq!(status, 200, "it needs no token");
    let made = page(&document);
    if std::env::var_os("OUTBILL_WRITE").is_some() {
        fs::write(PAGE, &made).unwrap();
    }
    let kept = fs::read_to_string(PAGE).unwrap();
    assert!(
        kept == made,
        "docs/api.md is not what /openapi.json says; run: OUTBILL_WRITE=1 cargo test -p api --test reference"
    );
}

fn page(document: &Value) -> String {
    let mut page = format!("{INTRODUCTION}{}\n", text(&document["info"]["description"]));
    for (tag, operations) in by_tag(document) {
        let _ = write!(page, "\n## {tag}\n");
        operations
            .iter()
            .for_each(|operation| page.push_str(&describe(operation)));
    }
    page.push_str("\n## Bodies\n");
    for (name, schema) in fields(&document["components"]["schemas"]) {
        page.push_str(&body(name, schema));
    }
    page
}

struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    described: &'a Value,
}

/// The operations under their tags.
fn by_tag(document: &Value) -> Vec<(&str, Vec<Operation<'_>>)> {
    let tags = list(&document["tags"]).iter();
    let mut tags: Vec<(&str, Vec<Operation<'_>>)> = tags.map(|tag| (text(&tag["name"]), Vec::new())).collect();
    for (path, methods) in fields(&document["paths"]) {
        for (method, described) in fields(methods) {
            let operation = Operation {
                method,
                path,
                described,
            };
            let tag = text(&described["tags"][0]);
            let (_, operations) = tags.iter_mut().find(|(known, _)| *known == tag).unwrap();
            operations.push(operation);
        }
    }
    tags
}

fn describe(operation: &Operation<'_>) -> String {
    let Operation {
        method,
        path,
        described,
    } = operation;
    let mut told = format!(
        "\n### {} `{path}`\n\n{}\n\n",
        method.to_uppercase(),
        text(&described["summary"])
    );
    if let Some(permission) = described["x-permission"].as_str() {
        let _ = writeln!(told, "- needs `{permission}`");
    }
    let queried = list(&described["parameters"])
        .iter()
        .filter(|parameter| parameter["in"] == "query");
    for parameter in queried {
        let required = if parameter["required"] == true {
            ", required"
        } else {
            ""
        };
        let _ = writeln!(
            told,
            "- query `{}` ({}{required}): {}",
            text(&parameter["name"]),
            kind(&parameter["schema"]),
            text(&parameter["description"])
        );
    }
    let content = &described["requestBody"]["content"];
    if let Some(body) = content["application/json"].get("schema") {
        let optional = if described["requestBody"]["required"] == true {
            ""
        } else {
            ", may be left out"
        };
        let _ = writeln!(told, "- body: {}{optional}", kind(body));
    }
    let mut refusals = BTreeSet::new();
    for (status, response) in fields(&described["responses"]) {
        if status.starts_with('2') {
            let _ = writeln!(
                told,
                "- {status}: {}",
                kind(&response["content"]["application/json"]["schema"])
            );
        } else {
            refusals.insert(status.as_str());
        }
    }
    let _ = writeln!(
        told,
        "- refusals: {}",
        refusals.into_iter().collect::<Vec<_>>().join(", ")
    );
    told
}

fn body(name: &str, schema: &Value) -> String {
    let mut told = format!("\n### {name}\n\n");
    if let Some(description) = schema["description"].as_str() {
        let _ = write!(told, "{description}\n\n");
    }
    let required: Vec<&str> = list(&schema["required"]).iter().map(text).collect();
    let properties = fields(&schema["properties"]);
    if properties.is_empty() {
        let _ = writeln!(told, "{}", kind(schema));
        return told;
    }
    told.push_str("| field | kind | |\n|---|---|---|\n");
    for (name, property) in properties {
        let required = if required.contains(&name.as_str()) {
            "required"
        } else {
            ""
        };
        let description = property["description"].as_str().unwrap_or_default();
        let said = [required, description]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(": ");
        let _ = writeln!(told, "| `{name}` | {} | {said} |", kind(property));
    }
    told
}

/// A schema in a word or two.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.trim_start_matches("#/components/schemas/");
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(known) = schema["enum"].as_array() {
        let known = known.iter().filter(|known| !known.is_null());
        return known
            .map(|known| format!("`{}`", text(known)))
            .collect::<Vec<_>>()
            .join(" \\| ");
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(text).filter(|name| *name != "null").collect(),
        name => vec![name.as_str().unwrap_or("anything")],
    };
    let types = types.join(" or ");
    match types.as_str() {
        "array" => format!("list of {}", kind(&schema["items"])),
        "object" if schema["properties"]["data"].is_object() && schema["description"].is_null() => {
            format!("page of {}", kind(&schema["properties"]["data"]["items"]))
        }
        "object" if schema["additionalProperties"].is_object() => {
            format!("map to {}", kind(&schema["additionalProperties"]))
        }
        "integer" => match (&schema["minimum"], &schema["maximum"]) {
            (least, most) if least.is_number() && most.is_number() => format!("{least} to {most}"),
            _ => types,
        },
        _ => match schema["format"].as_str() {
            Some(format) => format.to_owned(),
            None => types,
        },
    }
}

fn fields(value: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    value.as_object().unwrap_or(&NONE)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
