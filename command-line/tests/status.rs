//! What `status` finds, however far back and whatever lies before it.

mod common;

use common::{Desk, Server};
use serde_json::{Value, json};

fn configuration(id: &str) -> Value {
    json!({"id": id, "name": id, "enabled": true, "authorized": true, "configData": {}})
}

fn run(id: &str, bill: &str, configuration: &str, status: &str) -> Value {
    json!({"id": id, "entityId": bill, "destinationId": configuration, "status": status, "error": "no mapping"})
}

/// Bill b1 failed in the configuration of products and went well in the other one since; bill b2 went well in both since.
fn two_configurations(asked: &str) -> Value {
    let (path, query) = asked.split_once('?').unwrap_or((asked, ""));
    let status = query.split('&').find_map(|part| part.strip_prefix("status="));
    let is_further = query.contains("nextToken=further");
    match (path, status, is_further) {
        ("integrationconfigs", None, _) => json!({"data": [configuration("products"), configuration("whole")]}),
        // Before its failures lie more runs than the API looks at for one page.
        ("integrationruns/destinations/products", Some("ERROR"), false) => json!({"data": [], "nextToken": "further"}),
        ("integrationruns/destinations/products", Some("ERROR"), true) => {
            json!({"data": [run("r1", "b1", "products", "ERROR"), run("r2", "b2", "products", "ERROR")]})
        }
        ("integrationruns/Bill/b1", None, _) => {
            json!({"data": [run("r3", "b1", "whole", "COMPLETE"), run("r1", "b1", "products", "ERROR")]})
        }
        ("integrationruns/Bill/b2", None, false) => {
            json!({"data": [run("r5", "b2", "whole", "COMPLETE")], "nextToken": "further"})
        }
        ("integrationruns/Bill/b2", None, true) => {
            json!({"data": [run("r4", "b2", "products", "COMPLETE"), run("r2", "b2", "products", "ERROR")]})
        }
        _ => json!({"data": []}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_found_behind_other_runs_of_its_bill_and_empty_pages() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let server = Server::serving(two_configurations).await;
    desk.move_the_login(&server.address);
    let status = desk.run(&["status"]).await;
    status.person("bill b1: no mapping. Log: outbill runs show r1 --log");
    assert!(!status.out.contains("b2"), "{}", status.out);
}
