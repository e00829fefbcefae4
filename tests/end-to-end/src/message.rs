//! Messages of the bill queue.

use serde_json::{Value, json};

use crate::bill::Bill;

/// m3ter's event of a bill that was made or changed.
pub fn event(name: &str, organization: &str, bill: &Bill) -> Value {
    let mut dto = bill.json();
    dto["orgId"] = json!(organization);
    json!({ "eventName": name, "m3terEvent": { "eventData": { "newDto": dto } } })
}

/// The same for a bill that was made anew, which is what most tests need.
pub fn updated(organization: &str, bill: &Bill) -> Value {
    event("billing.bill.updated", organization, bill)
}

/// m3ter's event of a bill that is gone: it has `oldDto` only.
pub fn deleted(organization: &str, bill: &Bill) -> Value {
    let mut dto = bill.json();
    dto["orgId"] = json!(organization);
    json!({ "eventName": "billing.bill.deleted", "m3terEvent": { "eventData": { "oldDto": dto } } })
}

/// A bill sent as such.
pub fn plain(organization: &str, bill: &Bill) -> Value {
    json!({ "orgId": organization, "bill": bill.json() })
}

/// A bill that m3ter holds.
pub fn reference(organization: &str, bill: &str) -> Value {
    json!({ "orgId": organization, "billId": bill })
}

/// An earlier run's bill again.
pub fn replay(organization: &str, run: &str) -> Value {
    json!({ "orgId": organization, "integrationRunId": run, "replay": true })
}

/// The same as a cut-over.
pub fn remap(organization: &str, run: &str) -> Value {
    json!({ "orgId": organization, "integrationRunId": run, "replay": true, "remap": true })
}

/// AWS's notice, through EventBridge, that a licence ends.
pub fn license_deprovisioned(customer: &str, product: &str, license: &str) -> Value {
    json!({
        "version": "0", "id": "8b3b2b1c-0000-4000-8000-000000000001",
        "detail-type": "License Deprovisioned - Manufacturer", "source": "aws.agreement-marketplace",
        "account": "123456789012", "time": "2025-06-10T10:40:00Z", "region": "us-east-1", "resources": [license],
        "detail": {
            "requestId": "8b3b2b1c-0000-4000-8000-000000000002", "catalog": "AWSMarketplace",
            "agreement": { "id": "agmt-1" }, "acceptor": { "accountId": customer },
            "product": { "id": "prod-1", "code": product }, "license": { "arn": license },
        },
    })
}

/// AWS's notice, through SNS, that a buyer of a product leaves.
pub fn unsubscribe_pending(customer: &str, product: &str) -> Value {
    let notice = json!({
        "action": "unsubscribe-pending", "customer-identifier": customer, "product-code": product,
        "offer-identifier": "offer-1", "isFreeTrialTermPresent": "false",
    });
    json!({ "Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:us-east-1:1:topic", "Message": notice.to_string() })
}
