//! `login`, `logout`, and the login that every other command finds.
//!
//! The secret is asked for without being shown, or read from `OUTBILL_API_SECRET` or standard input: there is no flag for it, because flags land in
//! the shell's history and in lists of processes. It is sent to `/oauth/token`, and written nowhere.

use http::Uri;
use jiff::SignedDuration;
use serde_json::json;

use super::{Answer, Form};
use crate::api::{self, Api};
use crate::arguments::Login;
use crate::failure::{Failure, NO_ACCESS, REFUSED};
use crate::http_client::HttpClient;
use crate::profile::{Profile, ProfileFile};
use crate::show;
use crate::surroundings::Surroundings;

const DEFAULT: &str = "default";
const API: &str = "OUTBILL_API";
const ORGANIZATION: &str = "OUTBILL_ORGANIZATION";
const ID: &str = "OUTBILL_ACCESS_KEY_ID";
const SECRET: &str = "OUTBILL_API_SECRET";

/// Gets a token, tries it, and keeps it.
pub async fn log_in(
    asked: &Login,
    profile: Option<&str>,
    form: Form,
    surroundings: &Surroundings,
) -> Result<Answer, Failure> {
    let file = ProfileFile::of(profile.unwrap_or(DEFAULT), surroundings)?;
    let given = |flag: &Option<String>, variable: &str| flag.clone().or_else(|| surroundings.variable(variable));
    let missing = |what: &str, flag: &str, variable: &str| {
        Failure::misused(format!("{what} is missing"), format!("give {flag}, or set {variable}"))
    };
    let api = given(&asked.api, API).ok_or_else(|| missing("the API's address", "--api URL", API))?;
    let api = address(&api)?;
    let organization = given(&asked.organization, ORGANIZATION)
        .ok_or_else(|| missing("the organization", "--organization ORG", ORGANIZATION))?;
    let access_key_id = match given(&asked.access_key_id, ID) {
        Some(id) => id,
        None => surroundings.ask("access key id")?,
    };
    let secret = match surroundings.variable(SECRET) {
        Some(secret) => secret,
        None => surroundings.ask_secret("secret")?,
    };
    if access_key_id.is_empty() || secret.is_empty() {
        return Err(Failure::misused(
            "the access key is missing",
            format!("type its id and secret, give them as two lines of standard input, or set {ID} and {SECRET}"),
        ));
    }
    let http = client(&api)?;
    let (token, seconds) = api::token(&http, &api, &access_key_id, &secret).await?;
    let expires_at = surroundings.now.saturating_add(SignedDuration::from_secs(seconds));
    let expires_at = expires_at.map_err(|error| Failure::new(REFUSED, format!("the token's end: {error}"), ""))?;
    let caller = Api::new(
        http,
        &api,
        &organization,
        &token,
        "check --organization: the access key may be of another one; nothing was kept".to_owned(),
    );
    match caller.page("integrationconfigs", &[("pageSize", "1")]).await {
        Ok(_) => {}
        // A key that may not read configurations is a good one all the same.
        Err(failure) if failure.code == NO_ACCESS && failure.what.contains("lacks the permission") => {}
        Err(failure) => return Err(failure),
    }
    let kept = Profile {
        api,
        organization,
        access_key_id,
        token,
        expires_at,
    };
    file.write(&kept)?;
    let until = show::time(kept.expires_at);
    Ok(Answer::well(match form {
        Form::Json => {
            json!({"api": kept.api, "organization": kept.organization, "accessKeyId": kept.access_key_id, "expiresAt": kept.expires_at})
                .to_string()
        }
        Form::ForPeople => format!(
            "Logged in to {} as {} until {until}.\nThe token is kept in {}; the secret is not.",
            kept.api,
            kept.access_key_id,
            file.path().display()
        ),
    }))
}

/// Forgets the token.
pub fn log_out(profile: Option<&str>, form: Form, surroundings: &Surroundings) -> Result<Answer, Failure> {
    let file = ProfileFile::of(profile.unwrap_or(DEFAULT), surroundings)?;
    let was_there = file.delete()?;
    Ok(Answer::well(match (form, was_there) {
        (Form::Json, was_there) => json!({"loggedOut": was_there}).to_string(),
        (Form::ForPeople, true) => {
            "The token is forgotten here. The API takes it until it expires; docs/access.md says how to end it at once."
                .to_owned()
        }
        (Form::ForPeople, false) => "There was no login.".to_owned(),
    }))
}

/// The caller that the surroundings say: a named profile, else an access key in variables, else the profile "default".
pub async fn api(profile: Option<&str>, surroundings: &Surroundings) -> Result<Api, Failure> {
    let key = surroundings.variable(ID).zip(surroundings.variable(SECRET));
    if let (None, Some((id, secret))) = (profile, key) {
        let needed = |name: &str| {
            surroundings.variable(name).ok_or_else(|| {
                Failure::misused(
                    format!("{ID} and {SECRET} are set, and {name} is not"),
                    "set it, or unset the others",
                )
            })
        };
        let (api, organization) = (address(&needed(API)?)?, needed(ORGANIZATION)?);
        let http = client(&api)?;
        let (token, _) = api::token(&http, &api, &id, &secret).await?;
        let way_out = format!("check {ORGANIZATION}, {ID} and {SECRET}, and what the access key may do");
        return Ok(Api::new(http, &api, &organization, &token, way_out));
    }
    let name = profile.unwrap_or(DEFAULT);
    let kept = ProfileFile::of(name, surroundings)?.read()?;
    let state = match kept.expires_at <= surroundings.now {
        true => format!("the token expired at {}; ", show::time(kept.expires_at)),
        false => String::new(),
    };
    let flag = if name == DEFAULT {
        String::new()
    } else {
        format!(" --profile {name}")
    };
    let way_out = format!(
        "{state}log in again: outbill login{flag} --api {} --organization {}",
        kept.api, kept.organization
    );
    Ok(Api::new(
        client(&kept.api)?,
        &kept.api,
        &kept.organization,
        &kept.token,
        way_out,
    ))
}

fn client(api: &str) -> Result<HttpClient, Failure> {
    let uri: Uri = api.parse().map_err(|_| bad_address(api))?;
    HttpClient::new(&uri).map_err(|what| Failure::new(REFUSED, what, ""))
}

/// An address as it is kept: https, or http on this machine, so that no secret travels in the clear.
fn address(text: &str) -> Result<String, Failure> {
    let text = text.trim().trim_end_matches('/');
    let uri: Uri = text.parse().map_err(|_| bad_address(text))?;
    let host = uri.host().ok_or_else(|| bad_address(text))?;
    let is_here = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    let has_more = uri.query().is_some()
        || uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
    match (uri.scheme_str(), is_here) {
        _ if has_more => Err(bad_address("it")),
        (Some("https"), _) | (Some("http"), true) => Ok(text.to_owned()),
        (Some("http"), false) => Err(Failure::misused(
            format!("{text} would send the secret in the clear"),
            "give the address with https; http is for this machine only",
        )),
        _ => Err(bad_address(text)),
    }
}

fn bad_address(text: &str) -> Failure {
    Failure::misused(
        format!("{text} is not the address of an API"),
        "give one such as https://abc123.execute-api.us-east-1.amazonaws.com, without user, password and query",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_the_secret_from_others() {
        for good in [
            "https://a.example",
            "https://a.example/stage",
            "http://127.0.0.1:9000",
            "http://localhost:9000",
        ] {
            assert_eq!(address(&format!("{good}/")).as_deref(), Ok(good));
        }
        for bad in [
            "http://a.example",
            "a.example",
            "ftp://a.example",
            "https://user:word@a.example",
            "https://a.example?x=1",
            "",
        ] {
            let failure = address(bad).unwrap_err();
            assert_eq!(failure.code, crate::failure::MISUSED, "{bad}");
            assert!(!failure.to_string().contains("user:word"), "{failure}");
        }
    }
}
