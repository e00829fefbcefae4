//! A copy of the table, and its return: what DynamoDB's backups do. As there, the restored table is a new one with an id of its own.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{AttributeValue, PutRequest, WriteRequest};
use outbill::effects::table;

use crate::functions::{REGION, TABLE, sdk};
use crate::seam::BuildError;

/// DynamoDB's limit for one BatchWriteItem.
const ITEMS_PER_WRITE_MAX: usize = 25;

/// A row of the table.
pub type Row = HashMap<String, AttributeValue>;

/// The rows of the table at one instant.
#[derive(Debug, Clone)]
pub struct Backup(Vec<Row>);

impl Backup {
    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.0.len()
    }

    /// The rows.
    pub fn into_rows(self) -> Vec<Row> {
        self.0
    }
}

/// Copies the table. Nothing should write to it meanwhile.
pub async fn make(aws_endpoint_url: &str) -> Result<Backup, BuildError> {
    let client = client(aws_endpoint_url).await;
    let mut pages = client
        .scan()
        .table_name(TABLE)
        .consistent_read(true)
        .into_paginator()
        .send();
    let mut rows = Vec::new();
    while let Some(page) = pages.next().await {
        rows.extend(page?.items.unwrap_or_default());
    }
    Ok(Backup(rows))
}

/// Deletes the table, and makes it anew under the same name with the rows of the copy.
pub async fn restore(aws_endpoint_url: &str, backup: &Backup) -> Result<(), BuildError> {
    let client = client(aws_endpoint_url).await;
    client.delete_table().table_name(TABLE).send().await?;
    table::definition()?.table_name(TABLE).send_with(&client).await?;
    write(&client, &backup.0).await
}

/// Writes rows as they are.
pub async fn write(client: &Client, rows: &[Row]) -> Result<(), BuildError> {
    for rows in rows.chunks(ITEMS_PER_WRITE_MAX) {
        let puts = rows.iter().map(|row| {
            let put = PutRequest::builder().set_item(Some(row.clone())).build()?;
            Ok(WriteRequest::builder().put_request(put).build())
        });
        let puts: Result<Vec<WriteRequest>, BuildError> = puts.collect();
        let mut waiting = HashMap::from([(TABLE.to_owned(), puts?)]);
        while !waiting.is_empty() {
            let written = client
                .batch_write_item()
                .set_request_items(Some(waiting))
                .send()
                .await?;
            waiting = written.unprocessed_items.unwrap_or_default();
        }
    }
    Ok(())
}

async fn client(aws_endpoint_url: &str) -> Client {
    Client::new(&sdk(aws_endpoint_url, REGION).await)
}
