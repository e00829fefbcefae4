//! Lists, page by page: `pageSize`, `nextToken`, `{"data", "nextToken"}`.
//!
//! A token says where the last page ended and belongs to one list: one that was changed, or that comes from another list, another filter or
//! another organization, is refused rather than read as some other place.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use outbill::effects::table::{Page, PageRequest};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{error::ApiError, query::Query};

/// m3ter's largest page of configurations, mappings and runs, and the size without `pageSize`.
pub(crate) const PAGE_MAX: usize = 200;
/// m3ter's largest page of events.
pub(crate) const EVENTS_PAGE_MAX: usize = 100;

const SEAL_BYTES: usize = 16;

/// What part of the list a call wants.
pub(crate) fn request(query: &Query, size_max: usize) -> Result<PageRequest, ApiError> {
    let way_out = format!("give a number from 1 to {size_max}");
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let read = |text: &str| {
        let size = is_number(text).then(|| text.parse().ok()).flatten();
        size.filter(|size| (1..=size_max).contains(size))
    };
    let size = query.parsed("pageSize", read, &way_out)?.unwrap_or(size_max);
    let after = match query.text("nextToken") {
        None => None,
        Some(token) => Some(open(&query.list_name(), token).ok_or_else(bad_token)?),
    };
    Ok(PageRequest { size, after })
}

/// The answer to a token of another list, or one that was edited.
pub(crate) fn bad_token() -> ApiError {
    ApiError::bad_request(
        "nextToken: this token is not one of this list; give it as the last page did, with the same filters",
    )
}

/// A page as m3ter gives it.
pub(crate) fn response<T>(query: &Query, page: Page<T>, show: impl Fn(&T) -> Value) -> Value {
    let data: Vec<Value> = page.items.iter().map(show).collect();
    match page.next {
        Some(after) => json!({"data": data, "nextToken": close(&query.list_name(), &after)}),
        None => json!({"data": data}),
    }
}

/// A list that has nothing in it.
pub(crate) fn empty<T>() -> Page<T> {
    Page {
        items: Vec::new(),
        next: None,
    }
}

fn seal(list: &str, after: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(list.as_bytes());
    hash.update([0]);
    hash.update(after);
    hash.finalize().iter().copied().take(SEAL_BYTES).collect()
}

pub(crate) fn close(list: &str, after: &str) -> String {
    let mut token = seal(list, after.as_bytes());
    token.extend_from_slice(after.as_bytes());
    URL_SAFE_NO_PAD.encode(token)
}

fn open(list: &str, token: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (sealed, after) = bytes.split_at_checked(SEAL_BYTES)?;
    (sealed == seal(list, after))
        .then(|| String::from_utf8(after.to_vec()).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_its_own_list_only() {
        let token = close("/a?", "row-1");
        assert_eq!(open("/a?", &token).as_deref(), Some("row-1"));
        assert_eq!(open("/b?", &token), None);
        for at in 0..token.len() {
            let mut edited = token.clone().into_bytes();
            edited[at] = if edited[at] == b'A' { b'B' } else { b'A' };
            let edited = String::from_utf8(edited).unwrap();
            assert_eq!(open("/a?", &edited), None, "{edited}");
        }
        for bad in ["", "x", "AAAA", "row-1"] {
            assert_eq!(open("/a?", bad), None, "{bad}");
        }
    }
}
