//! `integrationconfigs/available…` and `/values…`: what a configuration can be, for a console to ask.

use axum::{Json, extract::Path};
use outbill::{
    effects::access::Permission,
    values::{
        configuration::{BILL, ENTITY_TYPES},
        credential::AWS_INTEGRATION,
        line_item_type::LineItemType,
    },
};
use serde_json::{Map, Value, json};

use crate::{call::Call, error::ApiError, names, query::Query};

/// Where a setting stands in m3ter's Console.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Panel {
    Global,
    Entity,
    Destination,
}

struct Setting {
    panel: Panel,
    name: &'static str,
    label: &'static str,
    kind: &'static str,
    default: Option<&'static str>,
    description: &'static str,
}

const SETTINGS: &[Setting] = &[
    Setting {
        panel: Panel::Global,
        name: "accountIds",
        label: "Account ids",
        kind: "array",
        default: None,
        description: "Only bills of these accounts are sent; empty: of all.",
    },
    Setting {
        panel: Panel::Global,
        name: "restrictedAccountIds",
        label: "Restricted account ids",
        kind: "array",
        default: None,
        description: "Bills of these accounts are not sent.",
    },
    Setting {
        panel: Panel::Global,
        name: "integrationDisabledNotificationUsers",
        label: "Integration disabled notification users",
        kind: "array",
        default: None,
        description: "E-mail addresses that are told when the integration is disabled.",
    },
    Setting {
        panel: Panel::Entity,
        name: "onlySendBillOnApproval",
        label: "Only send bill on approval",
        kind: "boolean",
        default: Some("false"),
        description: "Send approved bills only; otherwise every regeneration is sent.",
    },
    Setting {
        panel: Panel::Entity,
        name: "useExternalMappingAccountCode",
        label: "Use external mapping account code",
        kind: "boolean",
        default: Some("false"),
        description: "Changes nothing for AWS, which always needs the account's external mapping.",
    },
    Setting {
        panel: Panel::Entity,
        name: "excludedLineItemTypes",
        label: "Excluded line item types",
        kind: "array",
        default: None,
        description: "Lines of these types do not count.",
    },
    Setting {
        panel: Panel::Entity,
        name: "accountFilter",
        label: "Account filter",
        kind: "string",
        default: None,
        description: "Only bills of accounts of which this is true, such as address.country == UK.",
    },
    Setting {
        panel: Panel::Entity,
        name: "enforceExternalMappingsForConfig",
        label: "Enforce external mappings for config",
        kind: "boolean",
        default: Some("false"),
        description: "Use only external mappings that are linked to this configuration.",
    },
    Setting {
        panel: Panel::Destination,
        name: "splitUsageLineItems",
        label: "Split usage line items",
        kind: "string",
        default: None,
        description: "ITEM_PER_BILL, ITEM_PER_PRODUCT or ITEM_PER_AGGREGATION; has to be given.",
    },
    Setting {
        panel: Panel::Destination,
        name: "marketplaceBillDimension",
        label: "Marketplace bill dimension",
        kind: "string",
        default: None,
        description: "<productCode>-<dimensionKey>; needed for ITEM_PER_BILL.",
    },
    Setting {
        panel: Panel::Destination,
        name: "marketplaceDefaultDimension",
        label: "Marketplace default dimension",
        kind: "string",
        default: None,
        description: "Takes lines without the product or aggregation that the split needs.",
    },
    Setting {
        panel: Panel::Destination,
        name: "marketplaceAdoptFrom",
        label: "Marketplace adopt from",
        kind: "string",
        default: None,
        description: "From this instant on usage that others report counts as sent; by default from the creation of the configuration.",
    },
    Setting {
        panel: Panel::Destination,
        name: "marketplaceUnitPrice",
        label: "Marketplace unit price",
        kind: "string",
        default: Some("0.01"),
        description: "What one unit of every dimension costs.",
    },
    Setting {
        panel: Panel::Destination,
        name: "marketplaceCurrency",
        label: "Marketplace currency",
        kind: "string",
        default: Some("USD"),
        description: "The listing's currency; a bill in another one is refused.",
    },
    Setting {
        panel: Panel::Destination,
        name: "marketplaceMeteringRegion",
        label: "Marketplace metering region",
        kind: "string",
        default: Some("us-east-1"),
        description: "The AWS region whose metering service is called.",
    },
    Setting {
        panel: Panel::Destination,
        name: "marketplaceShadow",
        label: "Marketplace shadow",
        kind: "boolean",
        default: Some("false"),
        description: "Count bills and send nothing: integrationdestinations/marketplace/pending says what would be sent.",
    },
    Setting {
        panel: Panel::Destination,
        name: "awsMarketplaceCloudtrailChecks",
        label: "Aws marketplace cloudtrail checks",
        kind: "boolean",
        default: Some("false"),
        description: "Compare every day with what CloudTrail recorded.",
    },
    Setting {
        panel: Panel::Destination,
        name: "awsMarketplaceCloudtrailSource",
        label: "Aws marketplace cloudtrail source",
        kind: "string",
        default: Some("EVENT_HISTORY"),
        description: "EVENT_DATA_STORE or EVENT_HISTORY; EVENT_DATA_STORE where a store id is given.",
    },
    Setting {
        panel: Panel::Destination,
        name: "awsMarketplaceCloudtrailStoreId",
        label: "Aws marketplace cloudtrail store id",
        kind: "string",
        default: None,
        description: "The CloudTrail Lake event data store.",
    },
    Setting {
        panel: Panel::Destination,
        name: "awsMarketplaceCloudtrailRegion",
        label: "Aws marketplace cloudtrail region",
        kind: "string",
        default: None,
        description: "The event data store's region; by default the metering region.",
    },
    Setting {
        panel: Panel::Destination,
        name: "awsMarketplaceCloudtrailCredentialsId",
        label: "Aws marketplace cloudtrail credentials id",
        kind: "string",
        default: None,
        description: "The credential whose role reads CloudTrail; by default the one that meters.",
    },
];

fn shown(panel: Panel) -> Vec<Value> {
    let show = |setting: &Setting| {
        json!({
            "name": setting.name,
            "displayName": setting.label,
            "type": setting.kind,
            "defaultValue": setting.default,
            "required": setting.name == "splitUsageLineItems",
            "description": setting.description,
            "hasValues": option_values(setting.name).is_some(),
        })
    };
    SETTINGS
        .iter()
        .filter(|setting| setting.panel == panel)
        .map(show)
        .collect()
}

fn auth_options() -> Value {
    json!([
        {"name": "accountId", "displayName": "Account id", "type": "string", "required": false,
         "description": "The AWS account that sells, 12 digits; with roleName. Without both, Outbill's own role signs."},
        {"name": "roleName", "displayName": "Role name", "type": "string", "required": false,
         "description": "The role to assume there. Its trust policy needs the externalId that creating the credential shows."},
    ])
}

/// m3ter's `AvailableConfigurationResponse`.
pub(crate) async fn available(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let system = names::asked(&query, "systemName", names::destination)?;
    let entity = names::asked(&query, "entityType", names::entity_type)?;
    let (wants_system, wants_entity) = (names::is_sent_to(system), entity.is_none_or(|entity| entity == BILL));
    let aws = json!({
        "apiName": "AWS",
        "destination": "AWS",
        "displayName": "AWS Marketplace",
        "destinationConfigOptions": shown(Panel::Destination),
        "authConfigOptions": auth_options(),
        "released": true,
        "authType": AWS_INTEGRATION,
        "categories": ["Marketplace"],
    });
    let bill = json!({
        BILL: {
            "readableName": "Bill",
            "destinations": [aws],
            "entityConfigurationOptions": shown(Panel::Entity),
            "released": true,
        }
    });
    Ok(Json(json!({
        "supportedEntities": if wants_system && wants_entity { bill } else { json!({}) },
        "selectedConfigurations": {},
        "globalConfigurationOptions": shown(Panel::Global),
    })))
}

pub(crate) async fn systems(call: Call, query: Query) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    let entity = names::asked(&query, "entityType", names::entity_type)?;
    if entity.is_some_and(|entity| entity != BILL) {
        return Ok(Json(json!([])));
    }
    Ok(Json(json!([{
        "identifier": "AWS",
        "displayName": "AWS Marketplace",
        "validationSupported": false,
        "supportedAuthTypes": [AWS_INTEGRATION],
    }])))
}

pub(crate) async fn entities(call: Call, Path((_, system)): Path<(String, String)>) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    known_system(&system)?;
    let entity = |name: &&str| json!({"identifier": name, "displayName": name});
    Ok(Json(ENTITY_TYPES.iter().map(entity).collect()))
}

pub(crate) async fn auth(
    call: Call,
    Path((_, system, entity)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    known_system(&system)?;
    names::entity_type(&entity)?;
    Ok(Json(auth_options()))
}

pub(crate) async fn values(
    call: Call,
    Path((_, system, option)): Path<(String, String, String)>,
) -> Result<Json<Value>, ApiError> {
    call.needs(Permission::ConfigRetrieve)?;
    known_system(&system)?;
    if !SETTINGS.iter().any(|setting| setting.name == option) {
        return Err(ApiError::not_found(format!("there is no setting {option}")));
    }
    let value = |(id, label): (&str, &str)| json!({"id": id, "label": label});
    Ok(Json(
        option_values(&option)
            .unwrap_or_default()
            .into_iter()
            .map(value)
            .collect(),
    ))
}

/// The values of a setting that has a list of them.
fn option_values(option: &str) -> Option<Vec<(&'static str, &'static str)>> {
    match option {
        "splitUsageLineItems" => Some(vec![
            ("ITEM_PER_BILL", "Item per bill"),
            ("ITEM_PER_PRODUCT", "Item per product"),
            ("ITEM_PER_AGGREGATION", "Item per aggregation"),
        ]),
        "excludedLineItemTypes" => Some(
            LineItemType::ALL
                .iter()
                .map(|known| (known.name(), known.name()))
                .collect(),
        ),
        "awsMarketplaceCloudtrailSource" => Some(vec![
            ("EVENT_HISTORY", "Event history"),
            ("EVENT_DATA_STORE", "Event data store"),
        ]),
        _ => None,
    }
}

fn known_system(system: &str) -> Result<(), ApiError> {
    match names::is_sent_to(Some(names::destination(system)?)) {
        true => Ok(()),
        false => Err(ApiError::not_found(format!(
            "the system {system} is not supported yet; supported: AWS"
        ))),
    }
}

/// The schema of `configData`.
pub(crate) fn schema() -> Value {
    let described = |setting: &Setting| {
        let items = json!({"type": "string"});
        let mut schema = json!({"type": [setting.kind, "null"], "description": setting.description});
        if setting.kind == "array" {
            schema["items"] = items;
        }
        // A price may also be a number.
        if setting.name == "marketplaceUnitPrice" {
            schema["type"] = json!(["string", "number", "null"]);
        }
        if let Some(default) = setting.default {
            schema["default"] = match setting.kind {
                "boolean" => json!(default == "true"),
                _ => json!(default),
            };
        }
        (setting.name.to_owned(), schema)
    };
    let properties: Map<String, Value> = SETTINGS.iter().map(described).collect();
    json!({
        "type": "object",
        "description": "The settings of an AWS Marketplace configuration.",
        "required": ["splitUsageLineItems"],
        "additionalProperties": false,
        "properties": properties,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_described() {
        let described: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
        assert_eq!(described, outbill::values::marketplace_configuration::SETTINGS);
    }
}
