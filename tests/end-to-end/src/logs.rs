//! What the functions write to their logs in this process, and what must never be in it.
//!
//! Every scene listens, and every test that ends its scene has looked through all lines for the secrets and buyers of that scene. The
//! functions' own lines are written down to the last detail, those of the libraries as a deployment has them unless told otherwise.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use base64::{Engine, engine::general_purpose::STANDARD};
use sandbox::AccessKey;
use sandbox::seller::{CallError, Seller};
use tracing_subscriber::EnvFilter;

use crate::scene::Scene;
use crate::set_up::{ACME_AWS_ACCOUNT, GLOBEX_AWS_ACCOUNT, GLOBEX_LICENSE, INITECH_CUSTOMER};

/// The stand-ins' lines are not a deployment's.
const FILTER: &str = "info,outbill=trace,api=trace,bill_dispatch=trace,dynoxide=off,sandbox=off";

static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on everything that is logged is kept.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .json()
            .with_env_filter(EnvFilter::new(FILTER))
            .with_current_span(true)
            .with_span_list(true)
            .with_writer(|| Writer)
            .init();
    });
}

/// All lines so far.
pub fn lines() -> Vec<String> {
    let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&written).lines().map(str::to_owned).collect()
}

/// The lines that hold one of these.
pub fn lines_with(never: &[String]) -> Vec<String> {
    let mut lines = lines();
    lines.retain(|line| never.iter().any(|text| line.contains(text.as_str())));
    lines
}

impl Scene {
    /// What no line of a log may hold: the seller's keys and tokens, those of before included, and who the buyers are.
    pub fn never_logged(&self) -> Vec<String> {
        let key = self.sandbox.access_key();
        let basic = STANDARD.encode(format!("{}:{}", key.access_key_id, key.api_secret));
        let buyers = [ACME_AWS_ACCOUNT, GLOBEX_AWS_ACCOUNT, GLOBEX_LICENSE, INITECH_CUSTOMER].map(str::to_owned);
        let token = self.seller.token().to_owned();
        let mut never = vec![key.api_secret.clone(), basic, key.webhook_key(), token];
        never.extend(buyers);
        never.extend(
            self.secrets
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .iter()
                .cloned(),
        );
        never
    }

    /// One more thing that no log may hold.
    pub(crate) fn keep_secret(&self, secret: &str) {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.push(secret.to_owned());
    }

    /// Tries to get a token with another secret.
    pub async fn log_in_again(&self, secret: &str) -> Result<Seller, CallError> {
        let key = AccessKey {
            api_secret: secret.to_owned(),
            ..self.sandbox.access_key().clone()
        };
        Seller::log_in(&self.sandbox.addresses().api, &key).await
    }
}
