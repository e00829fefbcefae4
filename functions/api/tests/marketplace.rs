//! Who may make the calls that m3ter does not have.

mod common;

use common::*;
use outbill::effects::access::Permission;
use serde_json::{Value, json};

#[tokio::test]
async fn each_call_needs_its_own_permission_and_no_other() {
    let mut api = api().await;
    let all = api.key.clone();
    let key = "0123456789abcdef0123456789abcdef";
    let marketplace = "integrationdestinations/marketplace";
    use Permission::{ConfigCreate, MarketplaceUsageCreate, MarketplaceUsageRetrieve};
    let calls = [
        ("GET", format!("{marketplace}/pending"), MarketplaceUsageRetrieve),
        (
            "GET",
            format!("{marketplace}/explain?billId=b"),
            MarketplaceUsageRetrieve,
        ),
        (
            "POST",
            "integrationconfigs/none/preview".to_owned(),
            MarketplaceUsageRetrieve,
        ),
        (
            "POST",
            format!("{marketplace}/pending/{key}-2025-06-10T10/resolve"),
            MarketplaceUsageCreate,
        ),
        (
            "POST",
            format!("{marketplace}/pending/{key}/unblock"),
            MarketplaceUsageCreate,
        ),
        ("POST", "integrationruns/none/replay".to_owned(), MarketplaceUsageCreate),
        ("POST", "externalmappings/import".to_owned(), ConfigCreate),
    ];
    for (method, path, needed) in calls {
        let others: Vec<Permission> = Permission::ALL
            .iter()
            .copied()
            .filter(|other| *other != needed)
            .collect();
        for (permissions, admitted) in [(vec![needed], true), (others, false)] {
            let access = &api.world.outbill.access;
            api.key = access.create_access_key(&organization(), &permissions).await.unwrap();
            api.token = api.new_token().await;
            let body = if method == "POST" { json!({}) } else { Value::Null };
            let (status, answer) = api.call(method, &path, body).await;
            let name = serde_json::to_value(needed).unwrap();
            let lacks = answer["message"]
                .as_str()
                .unwrap_or_default()
                .contains(name.as_str().unwrap());
            assert_eq!(
                (status != 403, lacks),
                (admitted, !admitted),
                "{method} {path}: {status} {answer}"
            );
        }
    }
    api.key = all;
}
