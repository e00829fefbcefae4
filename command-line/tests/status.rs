//! What `status` finds, however far back and whatever lies before it, and how it says it.

mod common;

use common::{Desk, Server};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const PENDING: &str = "integrationdestinations/marketplace/pending";
const PAGE_ROWS: usize = 20;

/// An API that has these lists, each at its path, and nothing anywhere else.
async fn lists(lists: Vec<(&'static str, Vec<Value>)>) -> Server {
    Server::serving(move |asked| {
        let (path, query) = asked.split_once('?').unwrap_or((asked, ""));
        let rows = lists.iter().find(|(at, _)| *at == path);
        page(rows.map(|(_, rows)| rows.as_slice()).unwrap_or_default(), query)
    })
    .await
}

/// The page that a query asks for.
fn page(rows: &[Value], query: &str) -> Value {
    let token = query.split('&').find_map(|part| part.strip_prefix("nextToken="));
    let begin: usize = token.map_or(0, |token| token.parse().unwrap());
    let end = rows.len().min(begin + PAGE_ROWS);
    let mut page = json!({"data": &rows[begin..end]});
    if end < rows.len() {
        page["nextToken"] = json!(end.to_string());
    }
    page
}

fn days_ago(days: i64) -> Date {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    today.checked_sub(SignedDuration::from_hours(24 * days)).unwrap()
}

fn midnight(date: Date) -> String {
    format!("{date}T00:00:00Z")
}

/// A configuration that checks CloudTrail since so many days.
fn checked(days: i64) -> Value {
    let mut checked = configuration("whole");
    checked["configData"] = json!({"awsMarketplaceCloudtrailChecks": true});
    checked["dtCreated"] = json!(midnight(days_ago(days)));
    checked["dtLastModified"] = checked["dtCreated"].clone();
    checked
}

/// A comparison of a day so many days ago, made when it was over.
fn comparison(id: &str, days: i64, status: &str) -> Value {
    json!({
        "id": id, "integrationConfigId": "whole", "date": days_ago(days).to_string(), "scope": "DAY", "status": status,
        "dtCreated": midnight(days_ago(days - 1)), "requestedBy": null, "unchecked": [],
    })
}

/// Hourly looks of today that amended something.
fn looks(number: usize) -> impl Iterator<Item = Value> {
    (0..number).map(|number| {
        let mut look = comparison(&format!("look-{number}"), 0, "CORRECTED");
        look["scope"] = json!("WINDOW");
        look["dtCreated"] = json!(midnight(days_ago(0)));
        look
    })
}

fn waiting(id: &str, kind: &str, state: &str, units: i64, more: [&str; 2]) -> Value {
    let [reason, way_out] = more;
    json!({
        "id": id, "kind": kind, "state": state, "units": units, "dimension": "product-seats", "customer": format!("buyer-of-{id}"),
        "integrationConfigId": "whole", "reason": reason, "wayOut": way_out,
    })
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_is_not_proven_is_named_whatever_was_compared_since() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    // One of six days that could not be checked was asked for again.
    let mut compared = vec![comparison("again", 3, "MATCHES")];
    compared[0]["dtCreated"] = json!(midnight(days_ago(0)));
    compared.extend((1..=6).map(|days| {
        let mut one = comparison(&format!("day-{days}"), days, "NOT_CHECKED");
        one["unchecked"] = json!(["access is denied"]);
        one
    }));
    let server = lists(vec![
        ("integrationconfigs", vec![checked(7)]),
        ("reconciliations", compared),
    ])
    .await;
    desk.move_the_login(&server.address);
    let status = desk.run(&["status"]).await;
    let dates: Vec<String> = [6, 5, 4, 2, 1].map(|days| days_ago(days).to_string()).to_vec();
    status.person(&format!(
        "1. configuration whole (whole): the comparisons of {} are NOT_CHECKED: access is denied. Mend it, then ask for each day: \
         outbill reconcile ask DATE --configuration whole\n",
        dates.join(", ")
    ));
    assert!(!status.out.contains("\n2. "), "{}", status.out);
    let json = desk.run(&["status", "--json"]).await;
    assert_eq!(json.code, 3, "{}", json.err);
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["reconciliations"].as_array().unwrap().len(), 6);

    // What differs lies behind a day that matches and pages of hourly looks.
    let mut compared: Vec<Value> = looks(45).collect();
    compared.extend([comparison("day-1", 1, "MATCHES"), comparison("day-2", 2, "DIFFERS")]);
    let server = lists(vec![
        ("integrationconfigs", vec![checked(3)]),
        ("reconciliations", compared),
    ])
    .await;
    desk.move_the_login(&server.address);
    let day = days_ago(2);
    desk.run(&["status"]).await.person(&format!(
        "1. configuration whole (whole): the comparison of {day} is DIFFERS. See: outbill reconcile show day-2; when that is settled ask for the \
         day: outbill reconcile ask {day} --configuration whole\n"
    ));

    // What differs for good is named for a week.
    let mut compared: Vec<Value> = (1..10)
        .map(|days| comparison(&format!("day-{days}"), days, "MATCHES"))
        .collect();
    compared.push(comparison("day-10", 10, "DIFFERS"));
    let server = lists(vec![
        ("integrationconfigs", vec![checked(11)]),
        ("reconciliations", compared),
    ])
    .await;
    desk.move_the_login(&server.address);
    desk.run(&["status"]).await.well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_nobody_compared_is_overdue() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let all = (1..=5).map(|days| comparison(&format!("day-{days}"), days, "CORRECTED"));
    let server = lists(vec![
        ("integrationconfigs", vec![checked(6)]),
        ("reconciliations", all.clone().collect()),
    ])
    .await;
    desk.move_the_login(&server.address);
    assert!(desk.run(&["status"]).await.well().contains(&days_ago(1).to_string()));

    // Hourly looks do not stand for a day, nor does what has not ended.
    let mut compared: Vec<Value> = looks(3).collect();
    compared.push(comparison("day-2", 2, "WAITING"));
    compared.extend(all.skip(2));
    let server = lists(vec![
        ("integrationconfigs", vec![checked(6)]),
        ("reconciliations", compared),
    ])
    .await;
    desk.move_the_login(&server.address);
    let status = desk.run(&["status"]).await;
    // Until 13:00 UTC only the first of both is due.
    status.person(&format!(
        "1. configuration whole (whole): no comparison of {}",
        days_ago(2)
    ));
    status.person("has ended: overdue. Look at the reconcile function's log, then ask for ");

    let mut lacking = checked(6);
    lacking["dtCreated"] = Value::Null;
    let server = lists(vec![("integrationconfigs", vec![lacking])]).await;
    desk.move_the_login(&server.address);
    desk.run(&["status"])
        .await
        .failed(1, "the configuration whole has null as dtCreated");
}

#[tokio::test(flavor = "multi_thread")]
async fn comparisons_without_end_are_not_read_for_ever_and_not_taken_for_well() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let server = Server::serving(|asked| match asked.split('?').next() {
        Some("integrationconfigs") => json!({"data": [checked(60)]}),
        Some("reconciliations") => json!({"data": looks(2).collect::<Vec<Value>>(), "nextToken": "further"}),
        _ => json!({"data": []}),
    })
    .await;
    desk.move_the_login(&server.address);
    let status = desk.run(&["status"]).await;
    status.person("were too many to be looked at: outbill reconcile --status NOT_CHECKED");
    assert!(server.requests() < 120, "{}", server.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_mended_the_same_way_is_said_once() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let mut unconnected = configuration("whole");
    unconnected["authorized"] = json!(false);
    let failing = ["the connection fails", "mend the credential"];
    let mut rows: Vec<Value> = (0..30)
        .map(|number| waiting(&format!("key-{number}"), "KEY", "CONNECTION_FAILING", 2, failing))
        .collect();
    rows.extend((0..4).map(|number| {
        let id = format!("blocked-{number}");
        waiting(&id, "KEY", "BLOCKED", 7, ["AWS says no", "unblock the key"])
    }));
    rows.push(waiting(
        "entry",
        "ENTRY",
        "UNKNOWN",
        5,
        ["no answer", "resolve the entry"],
    ));
    rows.push(waiting("new", "KEY", "POSTPONED", 3, ["not today", "wait"]));
    // Its window closed with that state: CloudTrail decides it, in five days at the latest.
    let mut closed = waiting(
        "closed",
        "ENTRY",
        "UNKNOWN",
        5,
        ["the window closed", "nothing is to be done"],
    );
    closed["integrationConfigId"] = json!("checking");
    closed["dtClaimed"] = json!(midnight(days_ago(3)));
    closed["refusedFrom"] = json!(midnight(days_ago(2)));
    rows.push(closed);
    let mut checking = checked(1);
    checking["id"] = json!("checking");
    let server = lists(vec![
        ("integrationconfigs", vec![unconnected, checking]),
        (PENDING, rows),
    ])
    .await;
    desk.move_the_login(&server.address);
    let status = desk.run(&["status"]).await;
    for what in [
        "1. configuration whole (whole) has no credential",
        "2. 4 keys, 28 units, of configuration whole (whole): blocked. AWS says no. Mend it, then: outbill unblock KEY --reason …, for \
         blocked-0; blocked-1; blocked-2 and 1 more (outbill pending lists them)\n",
        "3. 5 units of product-seats, buyer buyer-of-entry: UNKNOWN. Look at AWS whether it has them, then: outbill resolve entry --as",
        "4. 30 keys, 60 units, of configuration whole (whole): CONNECTION_FAILING. mend the credential\n",
        "5. 3 units of product-seats, buyer buyer-of-new: POSTPONED, a state that this outbill does not know.",
    ] {
        status.person(what);
    }
    assert!(!status.out.contains("\n6. "), "{}", status.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_finds_no_room_in_a_table_stands_beneath_it() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let error = "account acme has no external mapping, and nothing of this bill was changed";
    let mut failed = run(
        "01a21258-52e0-7000-8712-e573b5931d10",
        "01a21221-6460-7001-9b43-db466f3f12c1",
        "whole",
        "ERROR",
    );
    (failed["error"], failed["dtStarted"]) = (json!(error), json!("2025-06-10T10:00:00Z"));
    let server = lists(vec![
        ("integrationconfigs", vec![configuration("whole")]),
        ("integrationruns/destinations/whole", vec![failed]),
    ])
    .await;
    desk.move_the_login(&server.address);
    let beneath = format!("\n\n01a21258-52e0-7000-8712-e573b5931d10\n  error  {error}\n");
    for columns in ["80", "120"] {
        let runs = desk.run_with(&["runs"], &[("COLUMNS", columns)], "").await;
        assert!(runs.well().ends_with(&beneath), "{columns}: {}", runs.out);
    }
    // Without a terminal and without COLUMNS there are 160.
    for columns in ["200", "", "many", "0"] {
        let runs = desk.run_with(&["runs"], &[("COLUMNS", columns)], "").await;
        assert!(runs.well().contains("┆ error "), "{columns}: {}", runs.out);
        assert!(!runs.out.contains("\n  error "), "{columns}: {}", runs.out);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_never_counts_as_nothing() {
    let desk = Desk::open().await;
    desk.log_in().await.well();
    let row = waiting("key", "KEY", "WAITS", 7, ["", ""]);
    for (name, value, what) in [
        ("units", Value::Null, "has null as units, which is to be a whole number"),
        ("units", json!("7"), "has \"7\" as units, which is to be a whole number"),
        ("units", json!(7.5), "has 7.5 as units, which is to be a whole number"),
        (
            "state",
            json!(["BLOCKED"]),
            "has [\"BLOCKED\"] as state, which is to be a text",
        ),
        (
            "refusedFrom",
            json!("soon"),
            "has \"soon\" as refusedFrom, which is to be an instant",
        ),
    ] {
        let mut row = row.clone();
        row[name] = value;
        let server = lists(vec![(PENDING, vec![row])]).await;
        desk.move_the_login(&server.address);
        let what = format!("the row key of {PENDING} {what}");
        desk.run(&["status"]).await.failed(1, &what);
        desk.run(&["status", "--json"]).await.failed(1, &what);
        desk.run(&["pending"]).await.failed(1, &what);
        desk.run(&["pending", "--json"]).await.json();
    }
    let mut without = row.clone();
    without.as_object_mut().unwrap().remove("units");
    let mut nameless = comparison("day-1", 1, "MATCHES");
    nameless.as_object_mut().unwrap().remove("status");
    let usage = |units: Value| json!({"billId": "b1", "accountId": "a1", "reportedUsage": {"product-seats": {"2025-06-10T10:00:00Z": units}}});
    let server = lists(vec![
        (PENDING, vec![without]),
        (
            "integrationdestinations/marketplace/usageReport",
            vec![usage(json!("7"))],
        ),
    ])
    .await;
    desk.move_the_login(&server.address);
    desk.run(&["status"]).await.failed(1, "has no units");
    let units = "the usage of bill b1 has \"7\" as 2025-06-10T10:00:00Z, which is to be a whole number";
    desk.run(&["report"]).await.failed(1, units);
    desk.run(&["report", "--from", "2025-06-01", "--json"])
        .await
        .failed(1, units);
    desk.run(&["report", "--json"]).await.json();

    let server = lists(vec![
        ("integrationconfigs", vec![checked(3)]),
        ("reconciliations", vec![nameless]),
        (
            "integrationdestinations/marketplace/usageReport",
            vec![json!({"billId": "b1"})],
        ),
    ])
    .await;
    desk.move_the_login(&server.address);
    desk.run(&["status"])
        .await
        .failed(1, "the comparison day-1 has no status");
    desk.run(&["report"])
        .await
        .failed(1, "the usage of bill b1 has no reportedUsage");
}
