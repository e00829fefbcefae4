//! Whether a configuration sends a bill at all. Each refusal has its reason, and the run shows it.

use std::fmt;

use crate::values::account::Account;
use crate::values::bill::{Bill, BillStatus};
use crate::values::configuration::IntegrationConfiguration;
use crate::values::ids::AccountId;
use crate::values::marketplace_configuration::{MarketplaceConfiguration, Sending};

/// Why a configuration does not send a bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Disabled,
    NoCredential,
    NotAmongAccounts,
    RestrictedAccount,
    NotApproved,
    FilteredOut,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::Disabled => "the configuration is disabled; enable it and the bill is sent by itself",
            Refusal::NoCredential => "the configuration has no credential; connect one and the bill is sent by itself",
            Refusal::NotAmongAccounts => "the account is not among accountIds",
            Refusal::RestrictedAccount => "the account is among restrictedAccountIds",
            Refusal::NotApproved => "the bill is not approved, and onlySendBillOnApproval is on",
            Refusal::FilteredOut => "accountFilter does not admit the account",
        })
    }
}

/// Whether the configuration's switches admit the bill, before its account is looked at.
pub fn refusal(
    configuration: &IntegrationConfiguration,
    marketplace: &MarketplaceConfiguration,
    bill: &Bill,
) -> Option<Refusal> {
    if let Some(refusal) = account_refused(marketplace, &bill.account) {
        return Some(refusal);
    }
    match (marketplace.sending, bill.status) {
        (Sending::OnApproval, BillStatus::Pending) => return Some(Refusal::NotApproved),
        (Sending::OnApproval, BillStatus::Approved)
        | (Sending::EveryRegeneration, BillStatus::Pending | BillStatus::Approved) => {}
    }
    if !configuration.enabled {
        return Some(Refusal::Disabled);
    }
    configuration.credential.is_none().then_some(Refusal::NoCredential)
}

/// Whether the lists of accounts keep a bill out.
pub fn account_refused(marketplace: &MarketplaceConfiguration, account: &AccountId) -> Option<Refusal> {
    if !marketplace.account_ids.is_empty() && !marketplace.account_ids.contains(account) {
        return Some(Refusal::NotAmongAccounts);
    }
    marketplace
        .restricted_account_ids
        .contains(account)
        .then_some(Refusal::RestrictedAccount)
}

/// Whether `accountFilter` admits the account; without a filter every account is.
pub fn filtered_out(marketplace: &MarketplaceConfiguration, account: Option<&Account>) -> Option<Refusal> {
    let filter = marketplace.account_filter.as_ref()?;
    let admitted = account.is_some_and(|account| filter.admits(&serde_json::Value::Object(account.json.clone())));
    (!admitted).then_some(Refusal::FilteredOut)
}
