//! Who called and where, read from the signature. Signatures are not checked.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;

/// The account of every caller who assumed no role.
pub const HOME_ACCOUNT: &str = "123456789012";

/// The scope of a SigV4 signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The access key that signed.
    pub access_key_id: String,
    /// The region that was called.
    pub region: String,
}

impl Caller {
    /// Reads `Credential=<key>/<date>/<region>/<service>/aws4_request`.
    pub fn from_headers(headers: &HeaderMap) -> Option<Caller> {
        let authorization = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (_, after) = authorization.split_once("Credential=")?;
        let credential = after.split([',', ' ']).next()?;
        let mut parts = credential.split('/');
        let access_key_id = parts.next()?.to_owned();
        let _date = parts.next()?;
        let region = parts.next()?.to_owned();
        Some(Caller { access_key_id, region })
    }

    /// The account: a key from `AssumeRole` carries its own, all others are at home.
    pub fn account(&self) -> &str {
        self.access_key_id
            .strip_prefix("ASIA")
            .and_then(|rest| rest.get(..12))
            .filter(|account| account.bytes().all(|byte| byte.is_ascii_digit()))
            .unwrap_or(HOME_ACCOUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_and_account_come_from_the_credential_scope() {
        for (authorization, expected) in [
            (
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260310/eu-west-1/aws-marketplace/aws4_request, SignedHeaders=host, Signature=0",
                Some(("eu-west-1", HOME_ACCOUNT)),
            ),
            (
                "AWS4-HMAC-SHA256 Credential=ASIA4444555566660001/20260310/us-east-1/sts/aws4_request,SignedHeaders=host",
                Some(("us-east-1", "444455556666")),
            ),
            ("Bearer token", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, authorization.parse().unwrap());
            let caller = Caller::from_headers(&headers);
            let seen = caller.as_ref().map(|caller| (caller.region.as_str(), caller.account()));
            assert_eq!(seen, expected, "{authorization}");
        }
    }
}
