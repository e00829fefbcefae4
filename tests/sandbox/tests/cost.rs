//! What a day costs: the counts are the sandbox's own, and the sums add up.

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, Put, ScalarAttributeType, TransactWriteItem,
};
use clap::Parser;
use rust_decimal::Decimal;
use sandbox::cost::sheet::{ALARMS, FUNCTION_MEGABYTES, Sheet};
use sandbox::cost::{CostOptions, measure, prices};
use sandbox::functions::BILL_DISPATCH_TIMEOUT;
use sandbox::options::{Arguments, Command};
use sandbox::{Options, Sandbox, functions};

fn options(arguments: &[&str]) -> CostOptions {
    let arguments = ["sandbox", "cost", "--no-latency"].iter().chain(arguments);
    match Arguments::parse_from(arguments).command {
        Some(Command::Cost(options)) => options,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_the_sandboxes_own_and_the_sums_add_up() {
    let options = options(&["--bills", "6", "--recalculations", "2", "--bills-per-month", "6"]);
    let measured = measure(&options).await.unwrap();
    for day in [&measured.busy, &measured.idle] {
        assert!(day.wrong.is_empty(), "{:?}", day.wrong);
        let own = &day.requests["dynamodb"];
        let counted = day
            .dynamodb
            .iter()
            .map(|(action, consumed)| (action.clone(), consumed.requests));
        // Beside items, only the table's description is asked for, by the count itself.
        let mut expect = own.clone();
        expect.remove("DescribeTable");
        assert_eq!(counted.collect::<std::collections::BTreeMap<_, _>>(), expect);
        assert!(day.metrics.lines > 0 && day.series > 0);
        // Each minute `continue`, each hour the look, each day the comparison.
        assert_eq!(day.invoked.reconcile.count, 1_440 + 24 + 1);
    }
    // Six bills, twice: notified, fetched, and metered at once.
    assert_eq!(measured.busy.invoked.api.count, 2 * 6 + 2);
    let fetched = measured.busy.requests["m3ter"]["GetBill"];
    assert!(fetched >= 2 * 6, "{fetched}");
    assert!(measured.busy.log.lines > 0);
    assert_eq!(measured.idle.records, 0);
    assert!(measured.busy.records > 0);

    let prices = prices::prices(&[]);
    let sheet = Sheet::of(
        &measured.busy,
        &measured.idle,
        options.bills,
        &prices,
        options.bills_per_month,
    );
    assert_eq!(sheet.lines.len(), prices.len(), "every price is of one line");
    let (mut by_thousand, mut in_month) = (Decimal::ZERO, Decimal::ZERO);
    for line in &sheet.lines {
        let days = Decimal::from(30);
        assert_eq!(
            line.usd_per_thousand,
            line.per_thousand * line.price.usd,
            "{}",
            line.what
        );
        let of_bills = line.per_thousand * Decimal::new(6, 3);
        assert_eq!(
            line.usd_per_month,
            ((of_bills + line.per_day) * days + line.per_month) * line.price.usd,
            "{}",
            line.what
        );
        by_thousand += line.usd_per_thousand;
        in_month += line.usd_per_month;
    }
    assert_eq!((sheet.usd_per_thousand, sheet.usd_per_month), (by_thousand, in_month));
    assert!(sheet.usd_per_month > sheet.usd_per_month_idle && sheet.usd_per_month_idle > Decimal::ZERO);
    // As many bills as were played make the very day that was counted.
    let units =
        |of: fn(&sandbox::consumption::Consumed) -> Decimal| measured.busy.dynamodb.values().map(of).sum::<Decimal>();
    for (what, units) in [
        ("write request units", units(|consumed| consumed.write_units)),
        ("read request units", units(|consumed| consumed.read_units)),
    ] {
        let line = sheet.lines.iter().find(|line| line.what == what).unwrap();
        let counted = line.per_thousand * Decimal::new(6, 3) + line.per_day;
        assert_eq!(counted.round_dp(9), units, "{what}");
    }
}

#[test]
fn the_sheet_has_what_the_template_has() {
    let template = include_str!("../../../template.yaml");
    let lines = |what: &str| template.lines().filter(|line| line.trim() == what).count() as u64;
    assert_eq!(lines("Type: AWS::CloudWatch::Alarm"), ALARMS);
    assert_eq!(lines("Type: AWS::CloudWatch::Dashboard"), 1);
    assert_eq!(lines(&format!("MemorySize: {FUNCTION_MEGABYTES}")), 1);
    assert_eq!(lines(&format!("Timeout: {}", BILL_DISPATCH_TIMEOUT.as_secs())), 1);
    for schedule in [
        "cron(1 * * * ? *)",
        "cron(41 * * * ? *)",
        "cron(40 * * * ? *)",
        "cron(0 11 * * ? *)",
        "rate(1 minute)",
    ] {
        assert_eq!(lines(&format!("ScheduleExpression: {schedule}")), 1, "{schedule}");
    }
}

/// AWS's rules, on the engine's answers: 1 KB a write unit, doubled in a transaction and not in an index; 4 KB a read unit, half of it eventually
/// consistent; a condition that does not hold costs as well.
#[tokio::test(flavor = "multi_thread")]
async fn units_are_counted_as_aws_documents_them() {
    let sandbox = Sandbox::start(Options::for_tests(), functions::build).await.unwrap();
    let sdk = functions::sdk(&sandbox.addresses().aws, functions::REGION).await;
    let client = aws_sdk_dynamodb::Client::new(&sdk);
    let attribute = |name: &str| {
        let attribute = AttributeDefinition::builder().attribute_name(name);
        attribute.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(KeyType::Hash)
            .build()
            .unwrap()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name("index")
        .key_schema(key("other"))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .unwrap();
    let table = client
        .create_table()
        .table_name("units")
        .billing_mode(BillingMode::PayPerRequest);
    let table = table
        .attribute_definitions(attribute("id"))
        .attribute_definitions(attribute("other"));
    table
        .key_schema(key("id"))
        .global_secondary_indexes(index)
        .send()
        .await
        .unwrap();
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let large = |kibibytes: usize| AttributeValue::S("x".repeat(kibibytes * 1_024 - 100));
    let put = |id: &str, kibibytes: usize| {
        client
            .put_item()
            .table_name("units")
            .item("id", text(id))
            .item("body", large(kibibytes))
    };

    let consumption = sandbox.consumption();
    let taken = |action: &str| {
        let consumed = consumption.by_action().remove(action).unwrap_or_default();
        consumption.clear();
        (
            consumed.requests,
            consumed.refused,
            consumed.read_units.normalize(),
            consumed.write_units.normalize(),
        )
    };
    let units = |text: &str| text.parse::<Decimal>().unwrap();
    put("plain", 2).send().await.unwrap();
    assert_eq!(taken("PutItem"), (1, 0, units("0"), units("2")));
    put("indexed", 1).item("other", text("o")).send().await.unwrap();
    assert_eq!(taken("PutItem"), (1, 0, units("0"), units("2")));
    put("five", 5).send().await.unwrap();
    consumption.clear();
    client
        .get_item()
        .table_name("units")
        .key("id", text("five"))
        .consistent_read(true)
        .send()
        .await
        .unwrap();
    assert_eq!(taken("GetItem"), (1, 0, units("2"), units("0")));
    client
        .get_item()
        .table_name("units")
        .key("id", text("plain"))
        .send()
        .await
        .unwrap();
    assert_eq!(taken("GetItem"), (1, 0, units("0.5"), units("0")));
    let absent = "attribute_not_exists(id)";
    assert!(put("plain", 2).condition_expression(absent).send().await.is_err());
    assert_eq!(taken("PutItem"), (1, 1, units("0"), units("1")));
    let action = |id: &str, kibibytes: usize| {
        let put = Put::builder()
            .table_name("units")
            .item("id", text(id))
            .item("body", large(kibibytes));
        let put = put
            .item("other", text("o"))
            .condition_expression(absent)
            .build()
            .unwrap();
        TransactWriteItem::builder().put(put).build()
    };
    let transact = |items: Vec<TransactWriteItem>| client.transact_write_items().set_transact_items(Some(items)).send();
    transact(vec![action("new", 1), action("newer", 3)]).await.unwrap();
    // 2 × (1 + 3), and once for each entry of the index.
    assert_eq!(taken("TransactWriteItems"), (1, 0, units("0"), units("10")));
    assert!(transact(vec![action("new", 1), action("newest", 1)]).await.is_err());
    assert_eq!(taken("TransactWriteItems"), (1, 1, units("0"), units("4")));
    sandbox.stop().await;
}
