//! Tokens of transactions: one that comes again within ten minutes is answered as it was the first time, and nothing is done.
//!
//! The engine knows tokens, too, but looks through those of ten minutes at each transaction, which after a hundred thousand is most of what it
//! does. So it is asked without them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard};

//= https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
//# a client request token is valid for 10 minutes after the first request that uses it is completed
const VALID_FOR: Duration = Duration::from_secs(10 * 60);
const TOKEN: &str = "ClientRequestToken";

/// The tokens of the last ten minutes.
#[derive(Debug, Default)]
pub struct Tokens(std::sync::Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    done: HashMap<String, Arc<Mutex<Option<Done>>>>,
    /// In the order in which they came first.
    since: VecDeque<(Instant, String)>,
}

/// A transaction that was done.
#[derive(Debug, Clone)]
pub struct Done {
    /// What was asked, without the token.
    asked: Bytes,
    answer: http::Response<Bytes>,
}

/// What to do with a transaction.
#[derive(Debug)]
pub enum Turn {
    /// It has no token.
    Any,
    /// It was not done before; whoever comes with the same token waits.
    First {
        asked: Bytes,
        turn: OwnedMutexGuard<Option<Done>>,
    },
    /// It was done, and answered so.
    Again(http::Response<Bytes>),
    /// Another one was done with its token.
    Mismatch,
}

impl Tokens {
    /// Looks at the token of a transaction.
    pub async fn turn(&self, body: &Bytes, now: Instant) -> Turn {
        let Some((token, asked)) = without_token(body) else {
            return Turn::Any;
        };
        let turn = self.of(token, now).lock_owned().await;
        match &*turn {
            Some(done) if done.asked == asked => Turn::Again(done.answer.clone()),
            Some(_) => Turn::Mismatch,
            None => Turn::First { asked, turn },
        }
    }

    fn of(&self, token: String, now: Instant) -> Arc<Mutex<Option<Done>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since, _)) = known.since.front()
            && now.duration_since(*since) >= VALID_FOR
            && let Some((_, old)) = known.since.pop_front()
        {
            known.done.remove(&old);
        }
        if let Some(done) = known.done.get(&token) {
            return Arc::clone(done);
        }
        known.since.push_back((now, token.clone()));
        Arc::clone(known.done.entry(token).or_default())
    }
}

impl Done {
    /// What is kept of a transaction; none of one that was refused, which may be tried again.
    pub fn of(asked: Bytes, answer: &http::Response<Bytes>) -> Option<Done> {
        let answer = answer.status().is_success().then(|| answer.clone())?;
        Some(Done { asked, answer })
    }
}

fn without_token(body: &[u8]) -> Option<(String, Bytes)> {
    let mut request: Value = serde_json::from_slice(body).ok()?;
    let token = request.as_object_mut()?.remove(TOKEN)?.as_str()?.to_owned();
    Some((token, Bytes::from(request.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(token: &str, items: &str) -> Bytes {
        Bytes::from(format!(
            "{{\"ClientRequestToken\":\"{token}\",\"TransactItems\":[\"{items}\"]}}"
        ))
    }

    fn answer(status: u16) -> http::Response<Bytes> {
        http::Response::builder()
            .status(status)
            .body(Bytes::from("{}"))
            .unwrap()
    }

    async fn ends(tokens: &Tokens, body: &Bytes, now: Instant, status: u16) {
        let Turn::First { asked, mut turn } = tokens.turn(body, now).await else {
            panic!("it was done before");
        };
        *turn = Done::of(asked, &answer(status));
    }

    #[tokio::test]
    async fn a_transaction_is_done_once_in_ten_minutes() {
        let tokens = Tokens::default();
        let begun = Instant::now();
        let (first, other) = (body("a", "x"), body("a", "y"));
        ends(&tokens, &first, begun, 400).await;
        ends(&tokens, &first, begun, 200).await;
        assert!(matches!(tokens.turn(&first, begun).await, Turn::Again(_)));
        assert!(matches!(tokens.turn(&other, begun).await, Turn::Mismatch));
        ends(&tokens, &body("b", "y"), begun, 200).await;
        let later = begun + VALID_FOR;
        ends(&tokens, &other, later, 200).await;
        assert_eq!(tokens.0.lock().unwrap().done.len(), 1);
    }

    #[tokio::test]
    async fn one_without_a_token_is_done_each_time() {
        let tokens = Tokens::default();
        let body = Bytes::from("{\"TransactItems\":[]}");
        assert!(matches!(tokens.turn(&body, Instant::now()).await, Turn::Any));
    }
}
