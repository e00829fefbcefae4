//! The query of a call. Lists may be repeated (`ids=a&ids=b`, as m3ter's specification says) or joined with commas (as its SDKs do).

use axum::{extract::FromRequestParts, http::request::Parts};
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use crate::error::ApiError;

/// The parameters in the order given, with the path that they belong to.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    path: String,
    parameters: Vec<(String, String)>,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Query, ApiError> {
        let original = parts.extensions.get::<axum::extract::OriginalUri>();
        let path = original
            .map_or_else(|| parts.uri.path(), |original| original.path())
            .to_owned();
        Query::parse(path, parts.uri.query().unwrap_or_default())
    }
}

impl Query {
    fn parse(path: String, query: &str) -> Result<Query, ApiError> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            urlencoding::decode(&text).map(|decoded| decoded.into_owned())
        };
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        };
        let parameters: Result<_, std::string::FromUtf8Error> =
            query.split('&').filter(|part| !part.is_empty()).map(pair).collect();
        let parameters = parameters.map_err(|_| ApiError::bad_request("the query is not UTF-8"))?;
        Ok(Query { path, parameters })
    }

    /// A parameter's value; the last one if it was repeated; none if it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// The same, whether it is empty or not.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        let mut values = self.parameters.iter().filter(|(given, _)| given == name);
        values.next_back().map(|(_, value)| value.as_str())
    }

    /// All values of a list.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let values = self
            .parameters
            .iter()
            .filter(|(given, _)| given == name || *given == format!("{name}[]"));
        let values = values.flat_map(|(_, value)| value.split(','));
        values
            .map(str::trim)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// A value read as what it means; an empty one means nothing. Errors: 400 with the name and the way out.
    pub(crate) fn parsed<T>(
        &self,
        name: &str,
        read: impl FnOnce(&str) -> Option<T>,
        way_out: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(value) = self.given(name) else {
            return Ok(None);
        };
        let refused = || ApiError::bad_request(format!("{name}: {value:?}: {way_out}"));
        read(value).map(Some).ok_or_else(refused)
    }

    /// An instant; a date is the first instant of its day, UTC, or the last where `end` is asked for.
    pub(crate) fn instant(&self, name: &str, edge: Edge) -> Result<Option<Timestamp>, ApiError> {
        let of_date = |text: &str| {
            let date = text.parse::<Date>().ok()?;
            let date = match edge {
                Edge::Start => date,
                Edge::End => date.tomorrow().ok()?,
            };
            let midnight = date.to_zoned(TimeZone::UTC).ok()?.timestamp();
            match edge {
                Edge::Start => Some(midnight),
                Edge::End => midnight.checked_sub(1.nanosecond()).ok(),
            }
        };
        let read = |text: &str| text.parse::<Timestamp>().ok().or_else(|| of_date(text));
        self.parsed(name, read, "give an instant such as 2025-06-10T10:00:00Z, or a date")
    }

    /// The list that this call pages through: its path and every parameter that decides what is in it.
    pub(crate) fn list_name(&self) -> String {
        let mut filters: Vec<String> = self
            .parameters
            .iter()
            .filter(|(name, _)| name != "nextToken" && name != "pageSize")
            .map(|(name, value)| format!("{}={}", urlencoding::encode(name), urlencoding::encode(value)))
            .collect();
        filters.sort();
        format!("{}?{}", self.path, filters.join("&"))
    }
}

/// Which instant of a day a date stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Start,
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse("/p".to_owned(), text).unwrap()
    }

    #[test]
    fn lists_are_repeated_or_joined() {
        let check = |text: &str, expect: &[&str]| assert_eq!(query(text).list("ids"), expect, "{text}");
        check("ids=a&ids=b", &["a", "b"]);
        check("ids=a%2Cb", &["a", "b"]);
        check("ids=a,b&ids=c", &["a", "b", "c"]);
        check("ids[]=a&ids%5B%5D=b", &["a", "b"]);
        check("ids=", &[]);
        check("", &[]);
    }

    #[test]
    fn a_date_is_an_edge_of_its_day() {
        let check = |text: &str, edge: Edge, expect: Option<&str>| {
            let found = query(&format!("d={text}")).instant("d", edge).ok().flatten();
            assert_eq!(found.map(|instant| instant.to_string()).as_deref(), expect, "{text}");
        };
        check("2025-06-10T10:00:00Z", Edge::End, Some("2025-06-10T10:00:00Z"));
        check("2025-06-10", Edge::Start, Some("2025-06-10T00:00:00Z"));
        check("2025-06-10", Edge::End, Some("2025-06-10T23:59:59.999999999Z"));
        check("soon", Edge::Start, None);
    }

    #[test]
    fn a_list_is_named_by_what_decides_it() {
        let check = |left: &str, right: &str, same: bool| {
            assert_eq!(
                query(left).list_name() == query(right).list_name(),
                same,
                "{left} {right}"
            );
        };
        check("a=1&b=2", "b=2&a=1&pageSize=5&nextToken=x", true);
        check("a=1", "a=2", false);
        check("a=1%26b%3D2", "a=1&b=2", false);
    }
}
