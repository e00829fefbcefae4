//! How tokens are signed: HMAC-SHA-256 and nothing else, by the ring that TLS brings along. A token that claims another algorithm is refused
//! before any key is looked at, and no other algorithm is in the program.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{ErrorKind, Result};
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use ring::hmac;

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.family(), key.as_bytes())?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.family(), key.try_get_as_bytes()?)?)),
    // For public keys, of which there are none.
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes this the process's way to sign tokens; again it changes nothing.
pub(super) fn install() {
    // An error means that it is installed already.
    let _ = PROVIDER.install_default();
}

struct Hs256(hmac::Key);

impl Hs256 {
    fn new(algorithm: Algorithm, family: AlgorithmFamily, key: &[u8]) -> Result<Hs256> {
        match (algorithm, family) {
            (Algorithm::HS256, AlgorithmFamily::Hmac) => Ok(Hs256(hmac::Key::new(hmac::HMAC_SHA256, key))),
            _ => Err(ErrorKind::InvalidAlgorithm.into()),
        }
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> std::result::Result<Vec<u8>, signature::Error> {
        Ok(hmac::sign(&self.0, message).as_ref().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signed: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        hmac::verify(&self.0, message, signed).map_err(|_| signature::Error::new())
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, EncodingKey};

    //= https://www.rfc-editor.org/rfc/rfc7515#appendix-A.1
    //# The key consists of a random octet sequence; the example's header, claims and signature are given octet by octet.
    const KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    const SIGNED: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    fn key() -> Vec<u8> {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(KEY).unwrap()
    }

    #[test]
    fn the_rfc_s_example_is_signed_and_verified_as_it_says() {
        install();
        let (to_sign, to_verify) = (EncodingKey::from_secret(&key()), DecodingKey::from_secret(&key()));
        let signed = jsonwebtoken::crypto::sign(SIGNED.as_bytes(), &to_sign, Algorithm::HS256);
        assert_eq!(signed.unwrap(), SIGNATURE);
        let verified = |signature, message: &str| {
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &to_verify, Algorithm::HS256).unwrap()
        };
        assert!(verified(SIGNATURE, SIGNED));
        assert!(!verified(SIGNATURE, &SIGNED.replace("eyJpc3Mi", "eyJpc3Mj")));
        assert!(!verified("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXA", SIGNED));
        assert!(!verified("", SIGNED));
    }

    #[test]
    fn another_algorithm_is_refused() {
        install();
        let key = key();
        for algorithm in [Algorithm::HS384, Algorithm::HS512, Algorithm::RS256, Algorithm::EdDSA] {
            let signed = jsonwebtoken::crypto::sign(b"anything", &EncodingKey::from_secret(&key), algorithm);
            assert!(
                matches!(signed.unwrap_err().kind(), ErrorKind::InvalidAlgorithm),
                "{algorithm:?}"
            );
        }
    }
}
