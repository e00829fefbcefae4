//! The lists of m3ter's stand-in: `ListBills` and `ListExternalMappings`, with the parameters of m3ter's OpenAPI document.
//!
//! Newest first, as m3ter lists; what says nothing of its making comes last, by id. A parameter that the document does not have is refused, so
//! that a misspelt filter is seen here and not in production.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::holdings::M3ter;

/// A list that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListWanted {
    /// Whose.
    pub organization: String,
    /// Which.
    pub list: List,
    /// The query's parameters.
    pub parameters: Vec<(String, String)>,
}

/// The lists that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// `ListBills`.
    Bills,
    /// `ListExternalMappings`.
    ExternalMappings,
}

/// Parameters of every list.
const PAGING: &[&str] = &["pageSize", "nextToken"];
/// Without a size m3ter gives some number of its own; the document does not say which.
const PAGE_DEFAULT: usize = 20;

impl List {
    fn size_max(self) -> usize {
        match self {
            List::Bills => 100,
            List::ExternalMappings => 200,
        }
    }

    /// Whether an entity passes a filter; none: the list has no such filter.
    fn admits(self, entity: &Value, name: &str, wanted: &str) -> Option<bool> {
        let text = |field: &str| entity.get(field).and_then(Value::as_str).unwrap_or_default();
        let among = |field: &str| wanted.split(',').any(|one| one == text(field));
        let flag = |field: &str| entity.get(field).and_then(Value::as_bool).unwrap_or_default();
        // Test bills may lack dates; such a bill passes every range.
        let from = |field: &str| text(field).is_empty() || text(field) >= wanted;
        let before = |field: &str| text(field).is_empty() || text(field) < wanted;
        let equal = |field: &str| text(field) == wanted;
        Some(match (self, name) {
            (List::Bills, "accountId" | "status" | "billDate" | "billJobId" | "billingFrequency") => equal(name),
            (List::Bills, "billDateStart") => from("billDate"),
            (List::Bills, "billDateEnd") => before("billDate"),
            (List::Bills, "externalInvoiceDateStart") => from("externalInvoiceDate"),
            (List::Bills, "externalInvoiceDateEnd") => before("externalInvoiceDate"),
            (List::Bills, "ids") => among("id"),
            (List::Bills, "locked") => wanted == "true" || !flag("locked"),
            (List::Bills, "excludeLineItems" | "includeBillTotal" | "additional") => true,
            (List::ExternalMappings, "externalSystemId") => equal("externalSystem"),
            (List::ExternalMappings, "m3terIds") => among("m3terId"),
            (List::ExternalMappings, "integrationConfigId") => equal(name),
            (List::Bills | List::ExternalMappings, _) => return None,
        })
    }
}

/// Answers a list. Errors: what is wrong with the query.
pub fn page(m3ter: &M3ter, wanted: &ListWanted) -> Result<Value, String> {
    let parameter = |name: &str| {
        let mut given = wanted.parameters.iter().filter(|(given, _)| given == name);
        given.next_back().map(|(_, value)| value.as_str())
    };
    let size_max = wanted.list.size_max();
    let size = match parameter("pageSize") {
        None => PAGE_DEFAULT,
        Some(text) => text
            .parse()
            .ok()
            .filter(|size| (1..=size_max).contains(size))
            .ok_or(format!("pageSize must be between 1 and {size_max}"))?,
    };
    let entities: &BTreeMap<String, Value> = match wanted.list {
        List::Bills => &m3ter.bills,
        List::ExternalMappings => &m3ter.mappings,
    };
    let mut found: Vec<&Value> = Vec::new();
    for entity in entities.values().filter(|entity| is_of(entity, &wanted.organization)) {
        let mut admitted = true;
        for (name, value) in wanted
            .parameters
            .iter()
            .filter(|(name, _)| !PAGING.contains(&name.as_str()))
        {
            let passes = wanted.list.admits(entity, name, value);
            admitted &= passes.ok_or_else(|| format!("{name} is no parameter of this list"))?;
        }
        found.extend(admitted.then_some(entity));
    }
    let made = |entity: &Value| {
        let text = |field: &str| entity.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        (text("dtCreated"), text("id"))
    };
    found.sort_by_key(|entity| std::cmp::Reverse(made(entity)));
    let first = match parameter("nextToken") {
        None => 0,
        Some(token) => {
            let after = |entity: &&Value| token.strip_prefix("after:") == entity.get("id").and_then(Value::as_str);
            found.iter().position(after).ok_or("nextToken is not valid")? + 1
        }
    };
    let shown: Vec<Value> = found
        .iter()
        .skip(first)
        .take(size)
        .map(|entity| without_lines(entity, parameter("excludeLineItems") == Some("true")))
        .collect();
    let more = found.len() > first + shown.len();
    let last = shown.last().and_then(|entity| entity.get("id")).and_then(Value::as_str);
    Ok(match last.filter(|_| more) {
        Some(last) => json!({"nextToken": format!("after:{last}"), "data": shown}),
        None => json!({"data": shown}),
    })
}

/// An entity that names its organization is served to that organization only.
pub fn is_of(entity: &Value, organization: &str) -> bool {
    match entity.get("orgId") {
        Some(Value::String(owner)) => owner == organization,
        _ => true,
    }
}

fn without_lines(entity: &Value, exclude: bool) -> Value {
    let mut entity = entity.clone();
    if let (true, Some(fields)) = (exclude, entity.as_object_mut()) {
        fields.remove("lineItems");
    }
    entity
}

#[cfg(test)]
mod tests {
    use super::*;

    fn m3ter() -> M3ter {
        let bill = |id: &str, created: &str, date: &str, account: &str| {
            let bill =
                json!({"id": id, "dtCreated": created, "billDate": date, "accountId": account, "lineItems": [1]});
            (id.to_owned(), bill)
        };
        M3ter {
            bills: BTreeMap::from([
                bill("a", "2025-06-01T00:00:00Z", "2025-06-30", "acme"),
                bill("b", "2025-06-03T00:00:00Z", "2025-05-31", "acme"),
                bill("c", "2025-06-02T00:00:00Z", "2025-07-31", "globex"),
            ]),
            ..M3ter::default()
        }
    }

    fn list(query: &[(&str, &str)]) -> Result<(Vec<String>, Option<String>), String> {
        let wanted = ListWanted {
            organization: "o".into(),
            list: List::Bills,
            parameters: query
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
        };
        let page = page(&m3ter(), &wanted)?;
        let ids = page["data"].as_array().unwrap().iter();
        let ids = ids.map(|bill| bill["id"].as_str().unwrap().to_owned()).collect();
        Ok((ids, page["nextToken"].as_str().map(str::to_owned)))
    }

    #[test]
    fn bills_are_filtered_and_paged_newest_first() {
        let check = |query: &[(&str, &str)], expect: &[&str], next: Option<&str>| {
            let (ids, token) = list(query).unwrap();
            assert_eq!(
                (ids.iter().map(String::as_str).collect::<Vec<_>>(), token.as_deref()),
                (expect.to_vec(), next)
            );
        };
        check(&[], &["b", "c", "a"], None);
        check(&[("accountId", "acme")], &["b", "a"], None);
        check(&[("billDateStart", "2025-06-30")], &["c", "a"], None);
        check(&[("billDateEnd", "2025-06-30")], &["b"], None);
        check(&[("ids", "a,c")], &["c", "a"], None);
        check(&[("pageSize", "2")], &["b", "c"], Some("after:c"));
        check(&[("pageSize", "2"), ("nextToken", "after:c")], &["a"], None);
        for bad in [
            ("pageSize", "0"),
            ("pageSize", "101"),
            ("nextToken", "x"),
            ("changedSince", "x"),
        ] {
            assert!(list(&[bad]).is_err(), "{bad:?}");
        }
    }
}
