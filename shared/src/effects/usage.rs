//! What was metered, by bill: the rows of the usage report.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::ledger::{USAGE_PREFIX, bill_partition, bills_partition};
use super::row::{Item, Row};
use super::table::{Order, Page, PageRequest, Rows, SK, StoreError, Table};
use crate::values::amount::Units;
use crate::values::bill::BillReference;
use crate::values::hour::Hour;
use crate::values::ids::{AccountId, BillId, OrganizationId};

/// Bills of a page that are read at once.
const AT_ONCE_MAX: usize = 16;

//= https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
//# Invocation payload (request and response): 6 MB each for synchronous
/// What a page may hold as JSON, which is escaped once more on its way out of Lambda. A bill that alone has more is a page of its own.
const PAGE_TEXT_BYTES_MAX: usize = 4_000_000;
/// The longest text of an hour: `"2025-06-10T10:00:00Z":-9223372036854775808,`.
const HOUR_TEXT_BYTES: usize = 44;

/// Units by dimension (`<productCode>-<dimension>`) and hour.
pub type ReportedUsage = BTreeMap<String, BTreeMap<Hour, Units>>;

/// What AWS accepted for one bill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillUsage {
    pub bill: BillId,
    pub account: AccountId,
    pub reported: ReportedUsage,
}

impl BillUsage {
    /// How long it is as JSON, at most and without what every bill has.
    fn text_bytes(&self) -> usize {
        let of_dimensions = self.reported.iter();
        of_dimensions
            .map(|(dimension, hours)| dimension.len() + hours.len() * HOUR_TEXT_BYTES)
            .sum()
    }
}

/// Which bills are wanted.
#[derive(Debug, Clone, Default)]
pub struct UsageFilter {
    pub account: Option<AccountId>,
    pub bill: Option<BillId>,
    /// m3ter's `billStartDate`, compared as text.
    pub bill_start_date: Option<String>,
}

/// The report.
#[derive(Debug, Clone)]
pub struct Usage(Table);

/// A bill that was metered, as the list has it.
struct Listed {
    /// Where it is in the list.
    place: String,
    bill: BillReference,
    account: AccountId,
}

impl Usage {
    /// Over the table.
    pub fn new(table: Table) -> Usage {
        Usage(table)
    }

    /// A page of bills that were metered, newest first, each with all that AWS accepted for it. It has fewer than were asked for where their text
    /// would not fit into an answer.
    pub async fn page(
        &self,
        organization: &OrganizationId,
        filter: &UsageFilter,
        page: &PageRequest,
    ) -> Result<Page<BillUsage>, StoreError> {
        let listed = match &filter.bill {
            Some(bill) => {
                self.one(
                    BillReference {
                        organization: organization.clone(),
                        bill: bill.clone(),
                    },
                    filter,
                )
                .await?
            }
            None => self.list(organization, filter, page).await?,
        };
        let reports = listed
            .items
            .into_iter()
            .map(|Listed { place, bill, account }| async move {
                let reported = self.reported(&bill).await?;
                let usage = BillUsage {
                    bill: bill.bill,
                    account,
                    reported,
                };
                Ok::<_, StoreError>((place, usage))
            });
        let reports: Vec<_> = reports.collect();
        let mut reports = stream::iter(reports).buffered(AT_ONCE_MAX);
        let (mut items, mut bytes, mut last) = (Vec::new(), 0, None);
        while let Some((place, usage)) = reports.try_next().await? {
            bytes += usage.text_bytes();
            if bytes > PAGE_TEXT_BYTES_MAX && !items.is_empty() {
                return Ok(Page { items, next: last });
            }
            items.push(usage);
            last = Some(place);
        }
        Ok(Page {
            items,
            next: listed.next,
        })
    }

    /// The deletion of a bill that was never metered leaves a manifest, too, which may name an account. It has no owner, and
    /// is no more reported here than in the list.
    async fn one(&self, bill: BillReference, filter: &UsageFilter) -> Result<Page<Listed>, StoreError> {
        let found = self.0.get(&bill_partition(&bill), "MANIFEST").await?;
        let listed = match &found {
            Some(item) if Row(item).maybe("owner")?.is_some() => read(item, &bill, filter)?,
            Some(_) | None => None,
        };
        Ok(Page {
            items: listed.into_iter().collect(),
            next: None,
        })
    }

    async fn list(
        &self,
        organization: &OrganizationId,
        filter: &UsageFilter,
        page: &PageRequest,
    ) -> Result<Page<Listed>, StoreError> {
        let partition = bills_partition(organization);
        let keep = |item: &Item| {
            let bill = Row(item).parsed("bill", |text| BillId::new(text).ok())?;
            read(
                item,
                &BillReference {
                    organization: organization.clone(),
                    bill,
                },
                filter,
            )
        };
        self.0
            .page(Rows::Partition(&partition), Order::Descending, page, keep)
            .await
    }

    async fn reported(&self, bill: &BillReference) -> Result<ReportedUsage, StoreError> {
        let mut reported = ReportedUsage::new();
        for item in self.0.all(&bill_partition(bill), USAGE_PREFIX).await? {
            let row = Row(&item);
            let hour = row.parsed("hour", |text| text.parse().ok())?;
            let units = row.number("units")?;
            let sum: &mut Units = reported
                .entry(row.text("dimension")?.to_owned())
                .or_default()
                .entry(hour)
                .or_default();
            // Two keys of one name (a buyer whose identity changed) may report in one hour.
            *sum = sum.saturating_add(units);
        }
        Ok(reported)
    }
}

/// A manifest, or a row of the list: both name account and start. Every bill that was metered has an account.
fn read(item: &Item, bill: &BillReference, filter: &UsageFilter) -> Result<Option<Listed>, StoreError> {
    let row = Row(item);
    let Some(account) = row.maybe_parsed("account", |text| AccountId::new(text).ok())? else {
        return Ok(None);
    };
    let account_fits = filter.account.as_ref().is_none_or(|wanted| *wanted == account);
    let start_date = row.maybe("startDate")?;
    let start_fits = filter
        .bill_start_date
        .as_deref()
        .is_none_or(|wanted| start_date == Some(wanted));
    let place = row.text(SK)?.to_owned();
    Ok((account_fits && start_fits).then(|| Listed {
        place,
        bill: bill.clone(),
        account,
    }))
}
