//! The straightforward design: one bill at a time, one record a call, a write before and one after.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_marketplacemetering::types::UsageRecord;
use aws_smithy_types::DateTime;
use sandbox::functions;

use crate::child::Child;
use crate::dispatch::{Plan, customer};

const TABLE: &str = functions::TABLE;

/// Sends the first bills of the plan, record by record; gives records and seconds.
pub async fn run(plan: &Plan, child: &Child) -> anyhow::Result<(usize, Duration)> {
    let sdk = functions::sdk(child.text("aws"), functions::REGION).await;
    let table = aws_sdk_dynamodb::Client::new(&sdk);
    let metering = aws_sdk_marketplacemetering::Client::new(&sdk);
    let begun = Instant::now();
    let mut records = 0;
    for bill in 0..plan.baseline_bills {
        for dimension in 0..plan.dimensions {
            let row = |state: &str| {
                table
                    .put_item()
                    .table_name(TABLE)
                    .item("PK", AttributeValue::S(format!("BASELINE#{bill}")))
                    .item("SK", AttributeValue::S(dimension.to_string()))
                    .item("state", AttributeValue::S(state.to_owned()))
            };
            row("PENDING").send().await?;
            let record = UsageRecord::builder()
                // An hour that the backlog does not use.
                .timestamp(DateTime::from_secs(crate::dispatch::now()?.as_second() - 7_200))
                .customer_identifier(format!("baseline-{}", customer(bill)))
                .dimension(crate::dispatch::dimension(dimension))
                .quantity(7)
                .build()?;
            let call = metering.batch_meter_usage().product_code(crate::dispatch::PRODUCT);
            let answer = call.usage_records(record).send().await?;
            anyhow::ensure!(answer.results().len() == 1, "AWS did not answer the record");
            row("ACCEPTED").send().await?;
            records += 1;
        }
    }
    Ok((records, begun.elapsed()))
}
