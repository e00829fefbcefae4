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

impl Refusal {
    /// As it is counted.
    pub fn name(self) -> &'static str {
        match self {
            Refusal::Disabled => "DISABLED",
            Refusal::NoCredential => "NO_CREDENTIAL",
            Refusal::NotAmongAccounts => "NOT_AMONG_ACCOUNTS",
            Refusal::RestrictedAccount => "RESTRICTED_ACCOUNT",
            Refusal::NotApproved => "NOT_APPROVED",
            Refusal::FilteredOut => "FILTERED_OUT",
        }
    }
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
    let admitted = account.is_some_and(|account| filter.admits_fields(&account.json));
    (!admitted).then_some(Refusal::FilteredOut)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::values::samples;

    #[test]
    fn the_first_switch_that_keeps_a_bill_back_is_the_reason() {
        use BillStatus::{Approved, Pending};
        let check = |settings: &[(&str, Value)],
                     status: BillStatus,
                     enabled: bool,
                     credential: Option<&str>,
                     expect: Option<Refusal>| {
            let bill = Bill {
                status,
                ..samples::bill(Vec::new())
            };
            let found = refusal(
                &samples::integration(enabled, credential),
                &samples::marketplace(settings),
                &bill,
            );
            assert_eq!(found, expect, "{settings:?} {status:?} {enabled} {credential:?}");
        };
        let on_approval = [("onlySendBillOnApproval", json!(true))];
        let restricted = [("restrictedAccountIds", json!(["account"])), on_approval[0].clone()];
        check(&[], Pending, true, Some("k"), None);
        check(&[], Approved, true, Some("k"), None);
        check(&on_approval, Approved, true, Some("k"), None);
        check(&on_approval, Pending, true, Some("k"), Some(Refusal::NotApproved));
        check(&[], Pending, false, Some("k"), Some(Refusal::Disabled));
        check(&[], Pending, true, None, Some(Refusal::NoCredential));
        check(&[], Pending, false, None, Some(Refusal::Disabled));
        check(&on_approval, Pending, false, None, Some(Refusal::NotApproved));
        check(&on_approval, Approved, false, None, Some(Refusal::Disabled));
        check(&restricted, Pending, false, None, Some(Refusal::RestrictedAccount));
    }

    #[test]
    fn the_lists_of_accounts_admit_and_keep_out() {
        let check = |admitted: &[&str], restricted: &[&str], expect: Option<Refusal>| {
            let marketplace = samples::marketplace(&[
                ("accountIds", json!(admitted)),
                ("restrictedAccountIds", json!(restricted)),
            ]);
            assert_eq!(
                account_refused(&marketplace, &samples::account()),
                expect,
                "{admitted:?} {restricted:?}"
            );
        };
        check(&[], &[], None);
        check(&["account"], &[], None);
        check(&["other", "account"], &[], None);
        check(&["other"], &[], Some(Refusal::NotAmongAccounts));
        check(&[], &["account"], Some(Refusal::RestrictedAccount));
        check(&[], &["other"], None);
        check(&["account"], &["account"], Some(Refusal::RestrictedAccount));
        check(&["other"], &["account"], Some(Refusal::NotAmongAccounts));
    }

    #[test]
    fn a_filter_admits_only_what_it_can_look_at() {
        let check = |filter: Option<&str>, account: Option<Value>, expect: Option<Refusal>| {
            let settings: Vec<(&str, Value)> = filter
                .map(|filter| ("accountFilter", json!(filter)))
                .into_iter()
                .collect();
            let account = account.map(|document| Account::from_json(document).unwrap());
            let found = filtered_out(&samples::marketplace(&settings), account.as_ref());
            assert_eq!(found, expect, "{filter:?} {account:?}");
        };
        let account = || Some(json!({"id": "account", "currency": "USD"}));
        check(None, None, None);
        check(None, account(), None);
        check(Some("currency == USD"), account(), None);
        check(Some("currency == EUR"), account(), Some(Refusal::FilteredOut));
        check(Some("currency == USD"), None, Some(Refusal::FilteredOut));
        check(Some("currency != USD"), None, Some(Refusal::FilteredOut));
    }

    #[test]
    fn a_refusal_names_the_setting_or_the_way_out() {
        let check = |refusal: Refusal, part: &str| {
            let text = refusal.to_string();
            assert!(text.contains(part), "{refusal:?}: {text}");
        };
        check(Refusal::Disabled, "disabled; enable it");
        check(Refusal::NoCredential, "no credential; connect one");
        check(Refusal::NotAmongAccounts, "not among accountIds");
        check(Refusal::RestrictedAccount, "among restrictedAccountIds");
        check(Refusal::NotApproved, "onlySendBillOnApproval");
        check(Refusal::FilteredOut, "accountFilter does not admit");
    }
}
