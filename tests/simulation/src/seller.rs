//! The seller of every history: configurations, mappings and bills, and what the bills owe.
//!
//! | account | buyer at AWS | configuration |
//! |---|---|---|
//! | a, b | one buyer, so their bills share usage keys | `all but d`; `only c` would do as well |
//! | c | another | `all but d` or `only c`, whichever is enabled first |
//! | d | a third, by licence | `only d`, which wants approved bills |

use axum::Router;
use axum::body::{Body, to_bytes};
use jiff::{SignedDuration, Timestamp};
use marketplace::reckoning::{Key, Reckoning, Rules, Split};
use outbill::Outbill;
use outbill::effects::access::Permission;
use outbill::values::ids::{ConfigurationId, OrganizationId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tower::ServiceExt;

use crate::history::{BILLS, PRODUCTS};

/// The organization.
pub const ORGANIZATION: &str = "org";
/// The product of the listing.
pub const PRODUCT: &str = "3mgmp9q6okn47u0rgmzzjdi9k";
const ACCESS_KEY_ID: &str = "simulation";
const API_SECRET: &str = "simulation";
/// Both of them, as HTTP says it.
const ACCESS_KEY: &str = "Basic c2ltdWxhdGlvbjpzaW11bGF0aW9u";
/// Products of m3ter, each a dimension.
pub const PRODUCT_IDS: [&str; PRODUCTS] = ["calls", "storage", "seats"];
/// Customers at AWS.
pub const CUSTOMERS: [&str; 3] = ["111122223333", "444455556666", "777788889999"];
/// The third customer's licence.
pub const LICENSE: &str = "arn:aws:license-manager::294406891311:license:l-e52ca6f38bf84d0fafb8802ca15ac11a";
/// The configurations, oldest first, with the accounts that each is for.
const CONFIGURATIONS: [(&str, &str, &str); 3] = [
    ("all but d", "restrictedAccountIds", "d"),
    ("only d", "accountIds", "d"),
    ("only c", "accountIds", "c"),
];
/// Bills with their accounts. The last is for the month after.
pub const BILL_IDS: [(&str, &str); BILLS] = [
    ("first-a", "a"),
    ("second-a", "a"),
    ("first-b", "b"),
    ("first-c", "c"),
    ("first-d", "d"),
    ("next-a", "a"),
];
/// A history that begins so soon after a month's end is about that month's bills.
const LATE: SignedDuration = SignedDuration::from_hours(7);
const NEXT_MONTHS_BILL: usize = BILLS - 1;
/// The bill whose configuration wants it approved.
const APPROVED_BILL: usize = 4;

/// A version of a bill.
#[derive(Debug, Clone)]
struct Version {
    body: Value,
    counts: bool,
}

/// The seller's side.
#[derive(Debug, Clone)]
pub struct Seller {
    api: Router,
    configurations: Vec<ConfigurationId>,
    mappings: Vec<String>,
    versions: BTreeMap<usize, Vec<Version>>,
    deleted: [bool; BILLS],
    /// An instant of the month that most bills are for.
    first_month: Timestamp,
}

impl Seller {
    /// Sets everything up through the API.
    pub async fn set_up(outbill: &Outbill, api: Router, start: Timestamp) -> anyhow::Result<Seller> {
        let organization = OrganizationId::new(ORGANIZATION)?;
        outbill
            .access
            .keep_access_key(ACCESS_KEY_ID, API_SECRET, &organization, Permission::ALL)
            .await?;
        let mut seller = Seller {
            api,
            configurations: Vec::new(),
            mappings: Vec::new(),
            versions: BTreeMap::new(),
            deleted: [false; BILLS],
            first_month: start.saturating_sub(LATE)?,
        };
        let token = seller.token().await?;
        for (name, field, account) in CONFIGURATIONS {
            let credential = json!({ "type": "AWS_INTEGRATION", "destination": "AWS", "name": name });
            let credential = seller
                .call(&token, "POST", "integrationcredentials", &credential)
                .await?;
            let configuration = json!({
                "entityType": "Bill", "destination": "AWS", "name": name, "integrationCredentialsId": credential["id"],
                "configData": { "splitUsageLineItems": "ITEM_PER_PRODUCT", field: [account], "onlySendBillOnApproval": name == "only d", "awsMarketplaceCloudtrailChecks": true },
            });
            let made = seller
                .call(&token, "POST", "integrationconfigs", &configuration)
                .await?;
            seller.configurations.push(ConfigurationId::new(text(&made, "id")?)?);
        }
        let accounts = [("a", 0), ("b", 0), ("c", 1), ("d", 2)]
            .map(|(account, customer)| ("Account", account, "Customer", CUSTOMERS[customer].to_owned()));
        let products = PRODUCT_IDS.map(|product| ("Product", product, "Dimension", format!("{PRODUCT}-{product}")));
        let license = ("Account", "d", "License", LICENSE.to_owned());
        for (entity, id, table, external) in accounts.into_iter().chain(products).chain([license]) {
            let mapping = json!({ "m3terEntity": entity, "m3terId": id, "externalSystem": "AWS", "externalTable": table, "externalId": external });
            let made = seller.call(&token, "POST", "externalmappings", &mapping).await?;
            seller.mappings.push(text(&made, "id")?);
        }
        Ok(seller)
    }

    /// One of the configurations.
    pub fn configuration(&self, place: usize) -> &ConfigurationId {
        &self.configurations[place % self.configurations.len()]
    }

    /// A new version of a bill: the message that tells of it.
    pub fn calculate(&mut self, bill: usize, cents: &[u32; PRODUCTS], approved: bool) -> String {
        let bill = bill % BILLS;
        let (id, account) = BILL_IDS[bill];
        let versions = self.versions.entry(bill).or_default();
        let month =
            jiff::civil::Date::from(self.first_month.to_zoned(jiff::tz::TimeZone::UTC).datetime()).first_of_month();
        let month = if bill == NEXT_MONTHS_BILL {
            month.last_of_month().tomorrow().unwrap_or(month)
        } else {
            month
        };
        let end = month.last_of_month().tomorrow().unwrap_or(month);
        let lines = PRODUCT_IDS.iter().zip(cents).filter(|(_, cents)| **cents > 0).map(|(product, cents)| {
            let amount: Value = serde_json::from_str(&format!("{}.{:02}", cents / 100, cents % 100)).unwrap_or_default();
            json!({
                "lineItemType": "USAGE", "productId": product, "quantity": 1, "units": 1, "unit": "unit", "subtotal": amount,
                "convertedSubtotal": amount, "currency": "USD", "conversionRate": 1,
            })
        });
        let body = json!({
            "id": id, "accountId": account, "version": versions.len() + 1, "status": if approved { "APPROVED" } else { "PENDING" },
            "currency": "USD", "startDate": month.to_string(), "endDate": end.to_string(),
            "startDateTimeUTC": format!("{month}T00:00:00Z"), "endDateTimeUTC": format!("{end}T00:00:00Z"),
            "lineItems": lines.collect::<Vec<_>>(),
        });
        versions.push(Version {
            body: body.clone(),
            counts: approved || bill != APPROVED_BILL,
        });
        message("billing.bill.updated", "newDto", body)
    }

    /// The message that a bill is gone; none: it never was.
    pub fn delete(&mut self, bill: usize) -> Option<String> {
        let bill = bill % BILLS;
        let newest = self.versions.get(&bill)?.last()?.body.clone();
        self.deleted[bill] = true;
        Some(message("billing.bill.deleted", "oldDto", newest))
    }

    /// What the newest versions that count owe, by customer and dimension, reckoned without Outbill.
    pub fn owed(&self) -> anyhow::Result<BTreeMap<Key, i64>> {
        let buyers = [("a", 0), ("b", 0), ("c", 1), ("d", 2)];
        let mut reckoning = Reckoning::new(Rules {
            split: Split::ItemPerProduct,
            excluded_line_item_types: Default::default(),
            unit_price: "0.01".parse()?,
            bill_dimension: None,
            default_dimension: None,
            dimensions: PRODUCT_IDS
                .map(|product| (product.to_owned(), product.to_owned()))
                .into(),
            buyers: buyers
                .map(|(account, customer)| (account.to_owned(), CUSTOMERS[customer].to_owned()))
                .into(),
        });
        for (bill, versions) in &self.versions {
            if let Some(newest) = versions.iter().rev().find(|version| version.counts)
                && !self.deleted[*bill]
            {
                reckoning.bill(&newest.body)?;
            }
        }
        Ok(reckoning.owed().into_iter().filter(|(_, units)| *units != 0).collect())
    }

    /// Enables a configuration, which queues again what waited for it.
    pub async fn enable(&self, place: usize) -> anyhow::Result<()> {
        let token = self.token().await?;
        let path = format!("integrationconfigs/{}/enable", self.configuration(place));
        self.call(&token, "POST", &path, &json!({})).await.map(|_| ())
    }

    /// Saves every mapping as it is: what waited for one is queued again, and blocks are lifted.
    pub async fn save_mappings(&self) -> anyhow::Result<()> {
        let token = self.token().await?;
        for mapping in &self.mappings {
            let path = format!("externalmappings/{mapping}");
            let known = self.call(&token, "GET", &path, &Value::Null).await?;
            let fields = [
                "m3terEntity",
                "m3terId",
                "externalSystem",
                "externalTable",
                "externalId",
                "version",
            ];
            let body: Value = fields
                .iter()
                .map(|field| ((*field).to_owned(), known[*field].clone()))
                .collect();
            self.call(&token, "PUT", &path, &body).await?;
        }
        Ok(())
    }

    /// A call with any body; gives the status and what was answered. A path that begins with a slash is not the organization's.
    pub async fn ask(
        &self,
        authorization: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> anyhow::Result<(u16, String)> {
        let uri = match path.strip_prefix('/') {
            Some(_) => path.to_owned(),
            None => format!("/organizations/{ORGANIZATION}/{path}"),
        };
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header("authorization", authorization)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))?;
        let response = self.api.clone().oneshot(request).await?;
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await?;
        Ok((status, String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Exchanges the access key for a token.
    pub async fn token(&self) -> anyhow::Result<String> {
        let body = r#"{"grant_type":"client_credentials"}"#;
        let (status, answer) = self.ask(ACCESS_KEY, "POST", "/oauth/token", body).await?;
        anyhow::ensure!(status == 200, "/oauth/token answered {status}: {answer}");
        text(&serde_json::from_str(&answer)?, "access_token")
    }

    async fn call(&self, token: &str, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let authorization = format!("Bearer {token}");
        let (status, answer) = self.ask(&authorization, method, path, &body).await?;
        anyhow::ensure!(status < 300, "{path} answered {status}: {answer}");
        Ok(serde_json::from_str(&answer)?)
    }
}

fn message(name: &str, field: &str, mut bill: Value) -> String {
    bill["orgId"] = json!(ORGANIZATION);
    json!({ "eventName": name, "m3terEvent": { "eventData": { field: bill } } }).to_string()
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    let found = value.get(field).and_then(Value::as_str);
    Ok(found
        .ok_or_else(|| anyhow::anyhow!("no {field} in {value}"))?
        .to_owned())
}
