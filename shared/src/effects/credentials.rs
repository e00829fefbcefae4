//! Integration credentials: what may be shown is in the table, the external id of a role in Secrets Manager.
//!
//! A credential's external id is made once and never changes, so that the seller's trust policy stays right when the role's name changes.
//! The secret is written before the row that needs it and deleted after it: a row never lacks its secret.

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    configurations::Changed,
    row::{Item, Row, RowBuilder, number, text},
    secrets::{Secrets, name_part},
    table::{Order, Page, PageRequest, Rows, SK, StoreError, Table},
};
use crate::values::{
    credential::{AwsRole, IntegrationCredential},
    ids::{CredentialId, OrganizationId},
};

/// Secrets read at once for one page.
const SECRETS_AT_ONCE_MAX: usize = 8;

/// The credentials of all organizations.
#[derive(Debug, Clone)]
pub struct Credentials {
    table: Table,
    secrets: Secrets,
}

fn partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}#CREDENTIAL")
}

fn secret_name(organization: &OrganizationId, id: &CredentialId) -> String {
    format!(
        "{}/credentials/{}",
        name_part(organization.as_str()),
        name_part(id.as_str())
    )
}

impl Credentials {
    /// Over the table and the secrets.
    pub fn new(table: Table, secrets: Secrets) -> Credentials {
        Credentials { table, secrets }
    }

    /// One with its role, as it is now.
    pub async fn get(
        &self,
        organization: &OrganizationId,
        id: &CredentialId,
    ) -> Result<Option<IntegrationCredential>, StoreError> {
        match self.table.get(&partition(organization), id.as_str()).await? {
            None => Ok(None),
            Some(item) => self.read(&item).await.map(Some),
        }
    }

    /// A page of an organization's, newest first.
    pub async fn list(
        &self,
        organization: &OrganizationId,
        page: &PageRequest,
    ) -> Result<Page<IntegrationCredential>, StoreError> {
        let partition = partition(organization);
        let keep = |item: &Item| Ok(Some(item.clone()));
        let rows = self
            .table
            .page(Rows::Partition(&partition), Order::Descending, page, keep)
            .await?;
        let reads: Vec<_> = rows.items.iter().map(|item| self.read(item)).collect();
        let items = stream::iter(reads).buffered(SECRETS_AT_ONCE_MAX).try_collect().await?;
        Ok(Page { items, next: rows.next })
    }

    /// Keeps a new one.
    pub async fn create(&self, credential: &IntegrationCredential) -> Result<(), StoreError> {
        self.keep_secret(credential).await?;
        // The id is new: a row that is there was written by an attempt whose answer was lost.
        self.table
            .put_if(write(credential), "attribute_not_exists(PK)", [])
            .await?;
        Ok(())
    }

    /// Stores `changed`, whose version is the one that the user has seen. Its role keeps the external id that it has.
    pub async fn update(
        &self,
        changed: &IntegrationCredential,
        now: Timestamp,
        by: &str,
    ) -> Result<Changed<IntegrationCredential>, StoreError> {
        self.keep_secret(changed).await?;
        let next = IntegrationCredential {
            version: changed.version.saturating_add(1),
            audit: changed.audit.changed(now, by),
            ..changed.clone()
        };
        // The mark tells a repeat whose answer was lost from a second caller, who may change the same version at the same instant.
        let mark = text(Uuid::new_v4().to_string());
        let mut item = write(&next);
        item.insert("changeMark".to_owned(), mark.clone());
        let values = [(":seen", number(changed.version)), (":mark", mark)];
        let condition = "version = :seen OR changeMark = :mark";
        if self.table.put_if(item, condition, values).await? {
            return Ok(Changed::Done(
                self.get(&next.organization, &next.id).await?.unwrap_or(next),
            ));
        }
        match self.table.get(&partition(&next.organization), next.id.as_str()).await? {
            Some(item) => Ok(Changed::Version(Row(&item).number("version")?)),
            None => Ok(Changed::Missing),
        }
    }

    /// Takes one away with its secret. None: it was not there.
    pub async fn delete(
        &self,
        organization: &OrganizationId,
        id: &CredentialId,
    ) -> Result<Option<IntegrationCredential>, StoreError> {
        let Some(found) = self.get(organization, id).await? else {
            return Ok(None);
        };
        self.table.delete(&partition(organization), id.as_str()).await?;
        self.secrets.delete(&secret_name(organization, id)).await?;
        Ok(Some(found))
    }

    async fn keep_secret(&self, credential: &IntegrationCredential) -> Result<(), StoreError> {
        if let Some(role) = &credential.aws {
            let secret = serde_json::json!({"externalId": role.external_id}).to_string();
            self.secrets
                .create(&secret_name(&credential.organization, &credential.id), &secret)
                .await?;
        }
        Ok(())
    }

    async fn read(&self, item: &Item) -> Result<IntegrationCredential, StoreError> {
        let row = Row(item);
        let id = row.parsed(SK, |id| CredentialId::new(id).ok())?;
        let organization = row.parsed("orgId", |id| OrganizationId::new(id).ok())?;
        let aws = match (row.maybe("awsAccountId")?, row.maybe("awsRoleName")?) {
            (Some(account_id), Some(role_name)) => {
                let name = secret_name(&organization, &id);
                let secret = self.secrets.get(&name).await?;
                let secret = secret.and_then(|secret| serde_json::from_str::<serde_json::Value>(&secret).ok());
                let external_id = secret.as_ref().and_then(|secret| secret.get("externalId")?.as_str());
                let external_id = external_id.ok_or_else(|| StoreError::corrupt(name, "externalId"))?;
                Some(AwsRole::new(account_id, role_name, external_id).map_err(|_| row.corrupt("awsRoleName"))?)
            }
            _ => None,
        };
        Ok(IntegrationCredential {
            id,
            organization,
            version: row.number("version")?,
            credential_type: row.text("type")?.to_owned(),
            destination: row.parsed("destination", |name| name.parse().ok())?,
            name: row.maybe("name")?.map(str::to_owned),
            aws,
            audit: row.audit()?,
        })
    }
}

fn write(credential: &IntegrationCredential) -> Item {
    let role = credential.aws.as_ref();
    RowBuilder::new(&partition(&credential.organization), credential.id.as_str())
        .text("orgId", credential.organization.as_str())
        .number("version", credential.version)
        .text("type", &credential.credential_type)
        .text("destination", credential.destination.name())
        .maybe("name", credential.name.as_deref())
        .maybe("awsAccountId", role.map(|role| role.account_id.as_str()))
        .maybe("awsRoleName", role.map(|role| role.role_name.as_str()))
        .audit(&credential.audit)
        .build()
}
