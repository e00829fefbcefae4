use super::*;
use crate::values::configuration::{Audit, CloudtrailChecks, CloudtrailSource, DestinationKind};
use crate::values::credential::IntegrationCredential;
use crate::values::ids::{CredentialId, OrganizationId};
use crate::values::trail::Content;

fn place(region: &str, account: Option<&str>) -> Place {
    Place {
        checks: CloudtrailChecks {
            source: CloudtrailSource::EventDataStore,
            store_id: None,
            region: "eu-west-1".into(),
            credential: None,
        },
        metering_region: region.into(),
        account: account.map(str::to_owned),
        credential: IntegrationCredential {
            id: CredentialId::new("k").unwrap(),
            organization: OrganizationId::new("o").unwrap(),
            version: 1,
            credential_type: "AWS_INTEGRATION".into(),
            destination: DestinationKind::Aws,
            name: None,
            aws: None,
            audit: Audit::new(Timestamp::UNIX_EPOCH, "me"),
        },
    }
}

#[test]
fn a_statement_is_built_from_checked_parts_only() {
    let stretch = Stretch {
        from: "2025-06-09T23:00:00Z".parse().unwrap(),
        until: "2025-06-11T11:00:00.9Z".parse().unwrap(),
    };
    const ID: &str = "8c3d1f4e-0000-4000-8000-123456789abc";
    let arn = format!("arn:aws:cloudtrail:eu-west-1:123456789012:eventdatastore/{ID}");
    for store in [ID, &arn] {
        let text = statement(store, &place("us-east-1", Some("123456789012")), stretch).unwrap();
        assert!(text.contains(&format!("FROM {ID} WHERE")), "{text}");
        assert!(
            text.ends_with("eventTime >= '2025-06-09 23:00:00' AND eventTime < '2025-06-11 11:00:00' AND recipientAccountId = '123456789012'"),
            "{text}"
        );
        assert!(text.len() < 10_000);
    }
    let everybody = statement(ID, &place("us-east-1", None), stretch).unwrap();
    assert!(!everybody.contains("recipientAccountId ="), "{everybody}");
    for (store, region, account) in [
        ("x; DROP", "us-east-1", None),
        ("arn:aws:x/", "us-east-1", None),
        ("x'--", "us-east-1", None),
        (ID, "us-east-1' OR '1'='1", None),
        (ID, "us-east-1", Some("1' OR '1'='1")),
    ] {
        assert_eq!(
            statement(store, &place(region, account), stretch),
            None,
            "{store} {region} {account:?}"
        );
    }
}

#[test]
fn a_row_is_a_list_of_maps_of_one_entry() {
    let row = |columns: &[(&str, &str)]| -> Vec<HashMap<String, String>> {
        let one = |(name, value): &(&str, &str)| HashMap::from([((*name).to_owned(), (*value).to_owned())]);
        columns.iter().map(one).collect()
    };
    let results = r#"[{"usageRecord":{"timestamp":"Jun 10, 2025 10:00:00 AM","customerIdentifier":"","customerAWSAccountId":"111122223333","dimension":"d","quantity":7},"meteringRecordId":"m","status":"Success"}]"#;
    let found = event(
        &row(&[
            ("eventID", "e"),
            ("eventTime", "2025-06-10 10:05:01.000"),
            ("recipientAccountId", "123456789012"),
            ("errorCode", "null"),
            ("productCode", "p"),
            ("results", results),
        ]),
        "us-east-1",
    );
    assert_eq!(
        (found.id.as_str(), found.at),
        ("e", "2025-06-10T10:05:01Z".parse().unwrap())
    );
    let Content::Answered {
        accepted,
        not_accepted: 0,
    } = found.content
    else {
        panic!("{found:?}");
    };
    assert_eq!((accepted[0].quantity, accepted[0].event.as_str()), (7, "e"));
    let omitted = event(&row(&[("eventID", "e"), ("responseOmitted", "true")]), "us-east-1");
    assert_eq!(omitted.content, Content::Omitted);
    let refused = event(
        &row(&[("eventID", "e"), ("errorCode", "ThrottlingException")]),
        "us-east-1",
    );
    assert!(matches!(refused.content, Content::Refused { .. }));
    let strange = event(&row(&[("eventID", "e")]), "us-east-1");
    assert!(matches!(strange.content, Content::Unreadable { .. }));
}
