//! Integration configurations, and the count of failures that disables them.
//!
//! A configuration has two owners. Users own its settings, under its version; Outbill owns `enabled` and the failures. An update by a user
//! sets the user's attributes only, so a configuration that Outbill disables meanwhile stays disabled. Failures are a set of causes: adding
//! one twice, by a repeat or by two workers, counts once.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{
    row::{Item, Row, RowBuilder, number, text},
    store_error::unavailable,
    table::{Order, PK, Page, PageRequest, Rows, SK, StoreError, Table, check_size, held},
};
use crate::values::{
    configuration::IntegrationConfiguration,
    ids::{ConfigurationId, CredentialId, OrganizationId},
};

/// A cause longer than this is counted by its hash.
const CAUSE_BYTES_MAX: usize = 256;

/// The list of the organizations that ever made a configuration.
const ORGANIZATIONS: &str = "ORGANIZATIONS";

/// The configurations of all organizations.
#[derive(Debug, Clone)]
pub struct Configurations(Table);

/// What counting a failure came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureCount {
    /// The distinct causes since the last completed run.
    pub total: usize,
    /// Whether this one was new. A repeat after a lost answer says no; the total is right either way.
    pub counted: bool,
}

/// How a change under a version ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Changed<T> {
    /// It happened; the thing as it is now.
    Done(T),
    /// The version is not the stored one, which this is.
    Version(i64),
    /// There is no such thing.
    Missing,
}

fn partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#CONFIG")
}

/// The configurations of an organization that were deleted in shadow.
fn left_in_shadow(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#LEFT_IN_SHADOW")
}

/// The row that lists an organization for the schedules: written whenever it makes or changes a configuration.
fn organization_row(organization: &OrganizationId) -> Item {
    RowBuilder::new(ORGANIZATIONS, organization.as_str()).build()
}

impl Configurations {
    /// Over the table.
    pub fn new(table: Table) -> Configurations {
        Configurations(table)
    }

    /// The organizations that ever made a configuration.
    pub async fn organizations(&self) -> Result<Vec<OrganizationId>, StoreError> {
        let listed = self.0.all(ORGANIZATIONS, "").await?;
        let id = |item: &Item| Row(item).parsed(SK, |id| OrganizationId::new(id).ok());
        listed.iter().map(id).collect()
    }

    /// All of an organization's, oldest first, as they are now.
    pub async fn of_organization(
        &self,
        organization: &OrganizationId,
    ) -> Result<Vec<IntegrationConfiguration>, StoreError> {
        self.0
            .all(&partition(organization), "")
            .await?
            .iter()
            .map(read)
            .collect()
    }

    /// One, as it is now.
    pub async fn get(
        &self,
        organization: &OrganizationId,
        id: &ConfigurationId,
    ) -> Result<Option<IntegrationConfiguration>, StoreError> {
        self.0
            .get(&partition(organization), id.as_str())
            .await?
            .as_ref()
            .map(read)
            .transpose()
    }

    /// A page of an organization's, newest first, of those that `wanted` admits.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
        wanted: impl Fn(&IntegrationConfiguration) -> bool,
    ) -> Result<Page<IntegrationConfiguration>, StoreError> {
        let partition = partition(organization);
        self.0
            .page(Rows::Partition(&partition), Order::Descending, page, |item| {
                Ok(Some(read(item)?).filter(&wanted))
            })
            .await
    }

    /// Keeps a new one, after its organization is listed for the schedules. Its id is new, so a row that is there is this one, written by an
    /// attempt whose answer was lost.
    pub async fn create(&self, configuration: &IntegrationConfiguration) -> Result<(), StoreError> {
        self.0.put(organization_row(&configuration.organization)).await?;
        self.0
            .put_if(write(configuration), "attribute_not_exists(PK)", [])
            .await?;
        Ok(())
    }

    /// Stores the user's part of `changed`, whose version is the one that the user has seen, and lists its organization for the schedules. `now` and
    /// `by` become the last change.
    pub async fn update(
        &self,
        changed: &IntegrationConfiguration,
        now: Timestamp,
        by: &str,
    ) -> Result<Changed<IntegrationConfiguration>, StoreError> {
        let next = IntegrationConfiguration {
            version: changed.version.saturating_add(1),
            audit: changed.audit.changed(now, by),
            ..changed.clone()
        };
        let item = write(&next);
        check_size(&item)?;
        self.0.put(organization_row(&next.organization)).await?;
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        let mut request = self
            .0
            .client()
            .update_item()
            .table_name(self.0.name())
            .key(PK, text(partition(&next.organization)))
            .key(SK, text(next.id.as_str()));
        for field in USER_FIELDS {
            request = request.expression_attribute_names(format!("#{field}"), *field);
            match item.get(*field) {
                Some(value) => {
                    set.push(format!("#{field} = :{field}"));
                    request = request.expression_attribute_values(format!(":{field}"), value.clone());
                }
                None => remove.push(format!("#{field}")),
            }
        }
        let remove = if remove.is_empty() {
            String::new()
        } else {
            format!(" REMOVE {}", remove.join(", "))
        };
        // The mark tells a repeat whose answer was lost from a second caller, who may change the same version at the same instant.
        let answer = request
            .update_expression(format!("SET {}, changeMark = :mark{remove}", set.join(", ")))
            .condition_expression("#version = :seen OR changeMark = :mark")
            .expression_attribute_values(":seen", number(changed.version))
            .expression_attribute_values(":mark", text(Uuid::new_v4().to_string()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match answer {
            Ok(answer) => return Ok(Changed::Done(read(&answer.attributes.unwrap_or_default())?)),
            Err(error) => error,
        };
        let Some(failed) = error.as_service_error().and_then(conditional) else {
            return Err(unavailable("DynamoDB UpdateItem")(error));
        };
        match failed {
            Some(item) => Ok(Changed::Version(Row(item).number("version")?)),
            None => Ok(Changed::Missing),
        }
    }

    /// Takes one away. None: it was not there.
    pub async fn delete(
        &self,
        organization: &OrganizationId,
        id: &ConfigurationId,
    ) -> Result<Option<IntegrationConfiguration>, StoreError> {
        let request = self.0.client().delete_item().table_name(self.0.name());
        let request = request
            .key(PK, text(partition(organization)))
            .key(SK, text(id.as_str()));
        let answer = request.return_values(ReturnValue::AllOld).send().await;
        let answer = answer.map_err(unavailable("DynamoDB DeleteItem"))?;
        answer.attributes.as_ref().map(read).transpose()
    }

    /// Remembers that a configuration which is about to be deleted is in shadow: what it counted another program has metered, so nobody sends it.
    pub async fn leave_in_shadow(
        &self,
        organization: &OrganizationId,
        id: &ConfigurationId,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let row = RowBuilder::new(&left_in_shadow(organization), id.as_str());
        self.0.put(row.instant("leftAt", now).build()).await
    }

    /// The configurations that were deleted in shadow.
    pub async fn left_in_shadow(&self, organization: &OrganizationId) -> Result<BTreeSet<ConfigurationId>, StoreError> {
        let listed = self.0.all(&left_in_shadow(organization), "").await?;
        let id = |item: &Item| Row(item).parsed(SK, |id| ConfigurationId::new(id).ok());
        listed.iter().map(id).collect()
    }

    /// Counts a failure by its cause, while the configuration is enabled.
    pub async fn count_failure(
        &self,
        organization: &OrganizationId,
        id: &ConfigurationId,
        cause: &str,
    ) -> Result<FailureCount, StoreError> {
        let cause = bounded(cause);
        let answer = self
            .state(organization, id)
            .update_expression("ADD failures :causes")
            .condition_expression("enabled = :yes AND NOT contains(failures, :cause)")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":cause", text(&cause))
            .expression_attribute_values(":causes", AttributeValue::Ss(vec![cause]))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match answer {
            Ok(answer) => {
                let total = Row(&answer.attributes.unwrap_or_default()).texts("failures")?.len();
                return Ok(FailureCount { total, counted: true });
            }
            Err(error) => error,
        };
        let Some(failed) = error.as_service_error().and_then(conditional) else {
            return Err(unavailable("DynamoDB UpdateItem")(error));
        };
        let total = failed.map_or(Ok(0), |item| Row(item).texts("failures").map(|causes| causes.len()))?;
        Ok(FailureCount { total, counted: false })
    }

    /// Forgets the failures: a run has completed.
    pub async fn reset_failures(&self, organization: &OrganizationId, id: &ConfigurationId) -> Result<(), StoreError> {
        let request = self.state(organization, id).update_expression("REMOVE failures");
        let answer = request.condition_expression("attribute_exists(failures)").send().await;
        held(answer, "DynamoDB UpdateItem", |error| {
            error.is_conditional_check_failed_exception()
        })?;
        Ok(())
    }

    /// Disables it. True for the one caller who did; everyone else finds it disabled, or gone.
    pub async fn disable(&self, organization: &OrganizationId, id: &ConfigurationId) -> Result<bool, StoreError> {
        // The mark tells a repeat whose answer was lost from a second caller.
        let mark = Uuid::new_v4().to_string();
        let answer = self
            .state(organization, id)
            .update_expression("SET enabled = :no, disabledBy = :mark")
            .condition_expression("enabled = :yes OR disabledBy = :mark")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .expression_attribute_values(":no", AttributeValue::Bool(false))
            .expression_attribute_values(":mark", text(mark))
            .send()
            .await;
        held(answer, "DynamoDB UpdateItem", |error| {
            error.is_conditional_check_failed_exception()
        })
    }

    /// Enables it and forgets its failures; by itself no change of version. None: there is no such configuration.
    pub async fn enable(
        &self,
        organization: &OrganizationId,
        id: &ConfigurationId,
    ) -> Result<Option<IntegrationConfiguration>, StoreError> {
        let answer = self
            .state(organization, id)
            .update_expression("SET enabled = :yes REMOVE failures, disabledBy")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_values(":yes", AttributeValue::Bool(true))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match answer {
            Ok(answer) => answer.attributes.as_ref().map(read).transpose(),
            Err(error) if error.as_service_error().and_then(conditional).is_some() => Ok(None),
            Err(error) => Err(unavailable("DynamoDB UpdateItem")(error)),
        }
    }

    fn state(
        &self,
        organization: &OrganizationId,
        id: &ConfigurationId,
    ) -> aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder {
        let request = self.0.client().update_item().table_name(self.0.name());
        request
            .key(PK, text(partition(organization)))
            .key(SK, text(id.as_str()))
    }
}

/// The row that failed the condition, if that is what happened: the row, or none where there is none.
fn conditional(error: &aws_sdk_dynamodb::operation::update_item::UpdateItemError) -> Option<Option<&Item>> {
    match error {
        aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(failed) => {
            Some(failed.item())
        }
        _ => None,
    }
}

fn bounded(cause: &str) -> String {
    if cause.len() <= CAUSE_BYTES_MAX {
        return cause.to_owned();
    }
    Sha256::digest(cause.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What users change; `enabled`, `disabledBy` and `failures` are Outbill's.
const USER_FIELDS: &[&str] = &[
    "version",
    "name",
    "entityType",
    "entityId",
    "destination",
    "destinationId",
    "configData",
    "credential",
    "dtLastModified",
    "lastModifiedBy",
];

fn write(configuration: &IntegrationConfiguration) -> Item {
    let config_data = serde_json::Value::Object(configuration.config_data.clone()).to_string();
    RowBuilder::new(&partition(&configuration.organization), configuration.id.as_str())
        .text("orgId", configuration.organization.as_str())
        .number("version", configuration.version)
        .maybe("name", configuration.name.as_deref())
        .text("entityType", &configuration.entity_type)
        .maybe("entityId", configuration.entity_id.as_deref())
        .text("destination", configuration.destination.name())
        .maybe("destinationId", configuration.destination_id.as_deref())
        .text("configData", &config_data)
        .maybe(
            "credential",
            configuration.credential.as_ref().map(CredentialId::as_str),
        )
        .flag("enabled", configuration.enabled)
        .audit(&configuration.audit)
        .build()
}

fn read(item: &Item) -> Result<IntegrationConfiguration, StoreError> {
    let row = Row(item);
    let owned = |field: Option<&str>| field.map(str::to_owned);
    let serde_json::Value::Object(config_data) = row.json("configData")? else {
        return Err(row.corrupt("configData"));
    };
    Ok(IntegrationConfiguration {
        id: row.parsed(SK, |id| ConfigurationId::new(id).ok())?,
        organization: row.parsed("orgId", |id| OrganizationId::new(id).ok())?,
        version: row.number("version")?,
        name: owned(row.maybe("name")?),
        entity_type: row.text("entityType")?.to_owned(),
        entity_id: owned(row.maybe("entityId")?),
        destination: row.parsed("destination", |name| name.parse().ok())?,
        destination_id: owned(row.maybe("destinationId")?),
        config_data,
        credential: row.maybe_parsed("credential", |id| CredentialId::new(id).ok())?,
        enabled: row.flag("enabled")?,
        audit: row.audit()?,
        failures: row.texts("failures")?,
    })
}
