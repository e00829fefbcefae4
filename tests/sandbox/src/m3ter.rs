//! A stand-in for m3ter: tokens, bills and accounts, and the lists of bills and external mappings.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::m3ter_lists::{self, List, ListWanted};
use crate::world::World;

const TOKEN: &str = "sandbox-m3ter-token";
const TOKEN_SECONDS: u32 = 18_000;

/// What a path under `/m3ter` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A token.
    Token,
    /// A bill of an organization.
    Bill { organization: String, id: String },
    /// An account of an organization.
    Account { organization: String, id: String },
    /// A page of a list.
    List(ListWanted),
    /// Something the stand-in does not have.
    Nothing,
}

impl Wanted {
    /// Reads method, path and query; the path is what follows `/m3ter`.
    pub fn from_path(method: &Method, path: &str, query: &str) -> Wanted {
        let decoded: Vec<String> = path
            .trim_matches('/')
            .split('/')
            .map(|part| urlencoding::decode(part).map_or_else(|_| part.to_owned(), |decoded| decoded.into_owned()))
            .collect();
        let parts: Vec<&str> = decoded.iter().map(String::as_str).collect();
        match (method, parts.as_slice()) {
            (&Method::POST, ["oauth", "token"]) => Wanted::Token,
            (&Method::GET, ["organizations", organization, "bills", id]) => Wanted::Bill {
                organization: (*organization).to_owned(),
                id: (*id).to_owned(),
            },
            (&Method::GET, ["organizations", organization, "accounts", id]) => Wanted::Account {
                organization: (*organization).to_owned(),
                id: (*id).to_owned(),
            },
            (&Method::GET, ["organizations", organization, list @ ("bills" | "externalmappings")]) => {
                Wanted::List(ListWanted {
                    organization: (*organization).to_owned(),
                    list: match *list {
                        "bills" => List::Bills,
                        _ => List::ExternalMappings,
                    },
                    parameters: parameters(query),
                })
            }
            _ => Wanted::Nothing,
        }
    }

    /// The name under which the call is counted.
    pub fn action(&self) -> &'static str {
        match self {
            Wanted::Token => "Token",
            Wanted::Bill { .. } => "GetBill",
            Wanted::Account { .. } => "GetAccount",
            Wanted::List(ListWanted { list: List::Bills, .. }) => "ListBills",
            Wanted::List(ListWanted {
                list: List::ExternalMappings,
                ..
            }) => "ListExternalMappings",
            Wanted::Nothing => "Unknown",
        }
    }
}

/// Answers a request.
pub fn answer(world: &World, wanted: &Wanted, headers: &HeaderMap) -> Response {
    let authorization = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let not_found = || message(StatusCode::NOT_FOUND, "Not found");
    match wanted {
        Wanted::Token if authorization.starts_with("Basic ") => respond(
            StatusCode::OK,
            &json!({
                "access_token": TOKEN, "expires_in": TOKEN_SECONDS,
                "token_type": "Bearer", "scope": "openid",
            }),
        ),
        Wanted::Token => message(StatusCode::UNAUTHORIZED, "Basic authorization is missing"),
        Wanted::Nothing => not_found(),
        Wanted::Bill { .. } | Wanted::Account { .. } | Wanted::List(_)
            if authorization.strip_prefix("Bearer ") != Some(TOKEN) =>
        {
            message(StatusCode::FORBIDDEN, "Unauthorized")
        }
        Wanted::Bill { organization, id } => world
            .read(|holdings| of_organization(holdings.m3ter.bills.get(id), organization))
            .map_or_else(not_found, |bill| respond(StatusCode::OK, &bill)),
        Wanted::Account { organization, id } => world
            .read(|holdings| of_organization(holdings.m3ter.accounts.get(id), organization))
            .map_or_else(not_found, |account| respond(StatusCode::OK, &account)),
        Wanted::List(wanted) => match world.read(|holdings| m3ter_lists::page(&holdings.m3ter, wanted)) {
            Ok(page) => respond(StatusCode::OK, &page),
            Err(problem) => message(StatusCode::BAD_REQUEST, &problem),
        },
    }
}

fn parameters(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        urlencoding::decode(&spaced).map_or_else(|_| spaced.clone(), |decoded| decoded.into_owned())
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}

/// An error as m3ter words it.
pub fn message(status: StatusCode, message: &str) -> Response {
    respond(status, &json!({"message": message}))
}

fn of_organization(entity: Option<&Value>, organization: &str) -> Option<Value> {
    entity
        .filter(|entity| m3ter_lists::is_of(entity, organization))
        .cloned()
}

fn respond(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_says_what_is_wanted() {
        for (method, path, action) in [
            (Method::POST, "oauth/token", "Token"),
            (Method::GET, "organizations/o/bills/b%201", "GetBill"),
            (Method::GET, "organizations/o/accounts/a", "GetAccount"),
            (Method::POST, "organizations/o/bills/b", "Unknown"),
            (Method::GET, "organizations/o/bills", "ListBills"),
            (Method::GET, "organizations/o/externalmappings", "ListExternalMappings"),
            (Method::GET, "organizations/o/products", "Unknown"),
        ] {
            assert_eq!(Wanted::from_path(&method, path, "").action(), action, "{path}");
        }
        let wanted = Wanted::from_path(&Method::GET, "organizations/o/bills/b%201", "");
        assert!(matches!(wanted, Wanted::Bill { id, .. } if id == "b 1"));
    }
}
