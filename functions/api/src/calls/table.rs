//! The rows of the table, subject by subject.

use axum::{http::Method, routing};
use outbill::{
    effects::{access::Permission, m3ter::MAPPINGS_PER_PAGE_MAX},
    values::configuration::DESTINATIONS,
};

use super::{Access, BodyKind, Operation, Parameter, ParameterKind, delete, get, parameter, post, put, tagged};
use crate::{
    bills, configurations, credentials, events, explain, import, mappings, names, notifications, openapi, options,
    page::{EVENTS_PAGE_MAX, PAGE_MAX},
    pending, preview, reconciliations, runs, thaw, token, usage_report,
};

const DESTINATION: Parameter = parameter(
    "destination",
    ParameterKind::Choice(DESTINATIONS),
    "Only those of this destination; upper and lower case count the same.",
);
const DESTINATION_ID: Parameter = parameter(
    "destinationId",
    ParameterKind::Text,
    "Only those of this destination id.",
);
const ENTITY_TYPE: Parameter = parameter(
    "entityType",
    ParameterKind::Choice(names::ENTITY_TYPES),
    "Only what is for this type of entity.",
);
const EXTERNAL_TABLE: Parameter = parameter(
    "externalTable",
    ParameterKind::Text,
    "The table in the external system.",
);
const RUN_FILTERS: [Parameter; 4] = [
    parameter(
        "startDate",
        ParameterKind::Instant,
        "Only runs that started at or after this.",
    ),
    parameter(
        "endDate",
        ParameterKind::Instant,
        "Only runs that started at or before this; a date means its end.",
    ),
    parameter("status", ParameterKind::RunStatus, "Only runs of this status."),
    parameter(
        "order",
        ParameterKind::Choice(&["ASC", "DESC"]),
        "DESC, newest first, unless ASC is given.",
    ),
];

/// The table, in the order of the reference.
pub(crate) fn all() -> Vec<Operation> {
    let mut all = Vec::new();
    all.extend(tagged("Access", access()));
    all.extend(tagged("Integration configurations", integration_configurations()));
    all.extend(tagged("Integration credentials", integration_credentials()));
    all.extend(tagged("External mappings", external_mappings()));
    all.extend(tagged("Integration runs", integration_runs()));
    all.extend(tagged("Marketplace", marketplace()));
    all.extend(tagged("Reconciliations", reconciliations_calls()));
    all.extend(tagged("Notifications", m3ter_notifications()));
    all.extend(tagged("Events", events_calls()));
    all
}

fn access() -> Vec<Operation> {
    vec![
        Operation::new(
            Method::POST,
            "/oauth/token".to_owned(),
            "GenerateToken",
            routing::post(token::issue),
        )
        .says("Exchanges an access key, given as HTTP Basic, for a token of five hours. A hundred failures from one address in a minute are answered 429 until the minute is over.")
        .opens_to(Access::Basic)
        .takes("BearerAccessTokenRequest", BodyKind::JsonOrForm)
        .gives("BearerAccessTokenResponse"),
        Operation::new(
            Method::GET,
            "/openapi.json".to_owned(),
            "GetOpenApi",
            routing::get(openapi::show),
        )
        .says("This description, as OpenAPI 3.1.")
        .gives("OpenApi"),
    ]
}

fn integration_configurations() -> Vec<Operation> {
    use Permission::{ConfigCreate, ConfigDelete, ConfigRetrieve, ConfigUpdate};
    const ONE: &str = "/integrationconfigs/{id}";
    const AVAILABLE: &str = "/integrationconfigs/available";
    vec![
        get("/integrationconfigs", "GetIntegrationConfigs", configurations::list)
            .says("Integration configurations, newest first.")
            .needs(ConfigRetrieve)
            .asks(&[DESTINATION_ID])
            .pages("IntegrationConfigResponse", PAGE_MAX),
        post("/integrationconfigs", "PostIntegrationConfig", configurations::create)
            .says("Makes an integration configuration, connected to a credential if one is given.")
            .needs(ConfigCreate)
            .takes("IntegrationConfigRequest", BodyKind::Required)
            .gives("IntegrationConfigResponse"),
        get(ONE, "GetIntegrationConfig", configurations::retrieve)
            .says("One integration configuration.")
            .needs(ConfigRetrieve)
            .gives("IntegrationConfigResponse"),
        put(ONE, "PutIntegrationConfig", configurations::update)
            .says("Replaces it as a whole: what is left out is gone, the credential too. What waited for it is sent.")
            .needs(ConfigUpdate)
            .takes("IntegrationConfigRequest", BodyKind::Update)
            .gives("IntegrationConfigResponse"),
        delete(ONE, "DeleteIntegrationConfig", configurations::delete)
            .says("Takes it away, unless external mappings are linked to it. Its bills pass to the next configuration that may send them. What it owes is still sent; of one in shadow nothing is, in its own name.")
            .needs(ConfigDelete)
            .gives("IntegrationConfigResponse"),
        post("/integrationconfigs/{id}/enable", "EnableIntegrationConfig", configurations::enable)
            .says("Enables it after 20 successive failures have disabled it, and sends what waited.")
            .needs(ConfigUpdate)
            .gives("IntegrationConfigResponse"),
        post("/integrationconfigs/{id}/thaw", "ThawIntegrationConfig", thaw::thaw)
            .says("An operator lets it claim and send again although the table is a restored copy whose gap CloudTrail has not filled. It is kept with name and reason.")
            .needs(Permission::MarketplaceUsageCreate)
            .takes("ThawRequest", BodyKind::Required)
            .gives("ThawResponse"),
        post("/integrationconfigs/{id}/preview", "PreviewBill", preview::preview)
            .says("What a bill would lead to under this configuration, and why. Nothing is written.")
            .needs(Permission::MarketplaceUsageRetrieve)
            .takes("BillMessage", BodyKind::Required)
            .gives("PreviewResponse"),
        get(
            "/integrationconfigs/entity/{entityType}",
            "GetIntegrationConfigForType",
            configurations::by_entity,
        )
        .says("The newest configuration of a type of entity, as m3ter's description has it, with the whole page in `data`.")
        .needs(ConfigRetrieve)
        .asks(&[
            parameter("entityId", ParameterKind::Text, "Only those of this entity."),
            DESTINATION,
            DESTINATION_ID,
        ])
        .pages("IntegrationConfigResponse", PAGE_MAX)
        .gives("IntegrationConfigForTypeResponse"),
        get(AVAILABLE, "GetAvailableConfig", options::available)
            .says("What a configuration can be: every setting, its kind and its default.")
            .needs(ConfigRetrieve)
            .asks(&[
                parameter("systemName", ParameterKind::Choice(DESTINATIONS), "Only this system."),
                ENTITY_TYPE,
            ])
            .gives("AvailableConfigurationResponse"),
        get("/integrationconfigs/available/systems", "GetAvailableSystems", options::systems)
            .says("The systems that can be integrated.")
            .needs(ConfigRetrieve)
            .asks(&[ENTITY_TYPE])
            .gives_list("SystemResponse"),
        get(
            "/integrationconfigs/available/{systemName}/entities",
            "GetAvailableSystemEntities",
            options::entities,
        )
        .says("The types of entity that a system takes.")
        .needs(ConfigRetrieve)
        .gives_list("EntityResponse"),
        get(
            "/integrationconfigs/available/{systemName}/auth/{entityType}",
            "GetAvailableAuthForSystemAndEntityType",
            options::auth,
        )
        .says("What a credential of a system has.")
        .needs(ConfigRetrieve)
        .gives_list("ConfigSetting"),
        get(
            "/integrationconfigs/values/{systemName}/{configOption}",
            "GetConfigOptionValues",
            options::values,
        )
        .says("The values of a setting that has a list of them; otherwise none.")
        .needs(ConfigRetrieve)
        .gives_list("ConfigOptionValue"),
    ]
}

fn integration_credentials() -> Vec<Operation> {
    use Permission::{ConfigCreate, ConfigDelete, ConfigRetrieve, ConfigUpdate};
    const ONE: &str = "/integrationcredentials/{id}";
    vec![
        get("/integrationcredentials", "ListIntegrationCredentials", credentials::list)
            .says("Integration credentials, newest first, without their secrets.")
            .needs(ConfigRetrieve)
            .pages("IntegrationCredentialsResponse", PAGE_MAX),
        post("/integrationcredentials", "CreateIntegrationCredentials", credentials::create)
            .says("Makes a credential. With accountId and roleName the answer shows, this once, the externalId that the role's trust policy has to ask for.")
            .needs(ConfigCreate)
            .takes("IntegrationCredentialsRequest", BodyKind::Required)
            .gives("IntegrationCredentialsResponse"),
        get(ONE, "GetIntegrationCredentials", credentials::retrieve)
            .says("One credential, without its secret.")
            .needs(ConfigRetrieve)
            .gives("IntegrationCredentialsResponse"),
        put(ONE, "UpdateIntegrationCredentials", credentials::update)
            .says("Replaces it as a whole; a role keeps its externalId. What waited for it is sent.")
            .needs(ConfigUpdate)
            .takes("IntegrationCredentialsRequest", BodyKind::Update)
            .gives("IntegrationCredentialsResponse"),
        delete(ONE, "DeleteIntegrationCredentials", credentials::delete)
            .says("Takes it away, unless an integration configuration uses it.")
            .needs(ConfigDelete)
            .gives("IntegrationCredentialsResponse"),
        post("/integrationcredentials/{id}/check", "CheckIntegrationCredentials", credentials::check)
            .says("Tries it: assumes the role and asks AWS, with a call that sends no usage, whether it may meter. Says what is missing.")
            .needs(ConfigUpdate)
            .gives("IntegrationCredentialsCheckResponse"),
    ]
}

fn external_mappings() -> Vec<Operation> {
    use Permission::{ConfigCreate, ConfigDelete, ConfigRetrieve, ConfigUpdate};
    const ONE: &str = "/externalmappings/{id}";
    vec![
        get("/externalmappings", "ListExternalMappings", mappings::list)
            .says("External mappings, newest first.")
            .needs(ConfigRetrieve)
            .asks(&[
                parameter(
                    "externalSystemId",
                    ParameterKind::Text,
                    "Only those to the system of this name.",
                ),
                parameter(
                    "m3terIds",
                    ParameterKind::Texts,
                    "Only those of these things of m3ter's.",
                ),
                parameter(
                    "integrationConfigId",
                    ParameterKind::Text,
                    "Only those that are linked to this configuration.",
                ),
            ])
            .pages("ExternalMappingResponse", PAGE_MAX),
        post("/externalmappings", "CreateExternalMapping", mappings::create)
            .says("Maps a thing of m3ter's to what it is called elsewhere. What waited for it is sent.")
            .needs(ConfigCreate)
            .takes("ExternalMappingRequest", BodyKind::Required)
            .gives("ExternalMappingResponse"),
        post("/externalmappings/import", "ImportExternalMappings", import::import)
            .says("Copies a page of m3ter's mappings to AWS. What is here already stays; where it differs it is listed. Repeat it with nextToken until done.")
            .needs(ConfigCreate)
            .takes("ImportRequest", BodyKind::Optional)
            .pages("ImportResponse", MAPPINGS_PER_PAGE_MAX)
            .gives("ImportResponse"),
        get(
            "/externalmappings/external/{entity}/{m3terId}",
            "ListExternalMappingsForM3terEntity",
            mappings::by_m3ter,
        )
        .says("The mappings of one thing of m3ter's.")
        .needs(ConfigRetrieve)
        .pages("ExternalMappingResponse", PAGE_MAX),
        get(
            "/externalmappings/externalid/{system}/{externalTable}/{externalId}",
            "ListExternalMappingsForExternalEntity",
            mappings::by_external,
        )
        .says("The mappings to one thing of another system.")
        .needs(ConfigRetrieve)
        .pages("ExternalMappingResponse", PAGE_MAX),
        get(ONE, "GetExternalMapping", mappings::retrieve)
            .says("One external mapping.")
            .needs(ConfigRetrieve)
            .gives("ExternalMappingResponse"),
        put(ONE, "UpdateExternalMapping", mappings::update)
            .says("Replaces it as a whole. What waited for it is sent.")
            .needs(ConfigUpdate)
            .takes("ExternalMappingRequest", BodyKind::Update)
            .gives("ExternalMappingResponse"),
        delete(ONE, "DeleteExternalMapping", mappings::delete)
            .says("Takes it away.")
            .needs(ConfigDelete)
            .gives("ExternalMappingResponse"),
        get(
            "/externalmappingconfiguration",
            "GetExternalMappingConfiguration",
            mappings::configuration,
        )
        .says("What can be mapped to what.")
        .needs(ConfigRetrieve)
        .gives("ExternalMappingConfigurationResponse"),
        get(
            "/externalmappingconfiguration/values/{destination}/{m3terEntity}",
            "GetExternalMappingOptionsForDestination",
            mappings::values,
        )
        .says("What a destination offers to map to: AWS Marketplace offers no list.")
        .needs(ConfigRetrieve)
        .asks(&[EXTERNAL_TABLE])
        .gives_list("ExternalEntityResponse"),
        get(
            "/externalmappingconfiguration/values/{destination}/{m3terEntity}/{integrationCredentialsId}",
            "GetExternalMappingOptionsForDestinationForCredentialsId",
            mappings::values,
        )
        .says("The same with a given credential.")
        .needs(ConfigRetrieve)
        .asks(&[EXTERNAL_TABLE])
        .gives_list("ExternalEntityResponse"),
    ]
}

fn integration_runs() -> Vec<Operation> {
    use Permission::{ConfigRetrieve, MarketplaceUsageCreate};
    vec![
        get("/integrationruns/{id}", "GetIntegrationRun", runs::retrieve)
            .says("One integration run.")
            .needs(ConfigRetrieve)
            .gives("IntegrationRunResponse"),
        get(
            "/integrationruns/{entityType}/{entityId}",
            "ListIntegrationRuns",
            runs::by_entity,
        )
        .says("The runs of an entity, such as a Bill.")
        .needs(ConfigRetrieve)
        .asks(&RUN_FILTERS)
        .pages("IntegrationRunResponse", PAGE_MAX),
        get(
            "/integrationruns/{entityType}/latest",
            "GetIntegrationRunLatestForIds",
            runs::latest_of_several,
        )
        .says("The newest run of each of several entities: all of them in `data`, beside the fields of the first.")
        .needs(ConfigRetrieve)
        .asks(&[parameter(
            "ids",
            ParameterKind::TextsRequired,
            "The ids of the entities, at most 200.",
        )])
        .gives("IntegrationRunsLatestResponse"),
        get(
            "/integrationruns/{entityType}/latest/{id}",
            "GetIntegrationRunLatest",
            runs::latest,
        )
        .says("The newest run of an entity.")
        .needs(ConfigRetrieve)
        .gives("IntegrationRunResponse"),
        get(
            "/integrationruns/destinations/{destinationId}",
            "ListIntegrationRunsByDestinationId",
            runs::by_destination,
        )
        .says("The runs of one integration configuration.")
        .needs(ConfigRetrieve)
        .asks(&[DESTINATION])
        .asks(&RUN_FILTERS)
        .pages("IntegrationRunResponse", PAGE_MAX),
        get("/integrationruns/logs/{id}", "GetIntegrationRunLogs", runs::log)
            .says("A run's log, a JSON list in base64: the configuration of that moment, the reasons, and the exact payloads exchanged, of a call that several bills shared this bill's records.")
            .needs(ConfigRetrieve)
            .gives("IntegrationRunLogResponse"),
        post("/integrationruns/{id}/replay", "ReplayIntegrationRun", runs::replay)
            .says("Queues the run's bill once more. With remap it is cut over to the usage keys that it would go to now.")
            .needs(MarketplaceUsageCreate)
            .takes("ReplayRequest", BodyKind::Optional)
            .gives("IntegrationRunResponse"),
    ]
}

fn marketplace() -> Vec<Operation> {
    use Permission::{MarketplaceUsageCreate, MarketplaceUsageRetrieve};
    vec![
        get(
            "/integrationdestinations/marketplace/usageReport",
            "GetUsageReport",
            usage_report::list,
        )
        .says("What AWS accepted: bill by bill, dimension by dimension, hour by hour. A page ends at about 4 MB, with fewer bills than asked for; a bill that alone is larger stays whole.")
        .needs(MarketplaceUsageRetrieve)
        .asks(&[
            parameter("billStartDate", ParameterKind::Date, "Only bills that start on this date."),
            parameter("accountId", ParameterKind::Text, "Only bills of this account."),
            parameter("externalSystem", ParameterKind::Text, "Only usage of this marketplace."),
            parameter(
                "billId",
                ParameterKind::ShortText(usage_report::BILL_ID_CHARACTERS_MAX),
                "Only this bill.",
            ),
        ])
        .pages("MarketplaceUsageReportResponse", usage_report::PAGE_MAX),
        get("/integrationdestinations/marketplace/explain", "ExplainUsage", explain::explain)
            .says("From a bill's units at AWS back through entries to its versions and line items, with the arithmetic in words.")
            .needs(MarketplaceUsageRetrieve)
            .asks(&[
                parameter("billId", ParameterKind::TextRequired, "The bill."),
                parameter("dimension", ParameterKind::Text, "Only this dimension, <productCode>-<dimensionKey>."),
            ])
            .gives("ExplanationResponse"),
        get("/integrationdestinations/marketplace/pending", "ListPending", pending::list)
            .says("Everything that AWS has not accepted: what waits for a decision first, then what is sent by itself.")
            .needs(MarketplaceUsageRetrieve)
            .pages("PendingResponse", PAGE_MAX),
        post(
            "/integrationdestinations/marketplace/pending/{id}/resolve",
            "ResolvePending",
            pending::resolve,
        )
        .says("An operator says what AWS holds of an entry whose outcome is not known. It is kept with name and reason.")
        .needs(MarketplaceUsageCreate)
        .takes("ResolveRequest", BodyKind::Required)
        .gives("PendingResponse"),
        post(
            "/integrationdestinations/marketplace/pending/{id}/unblock",
            "UnblockPending",
            pending::unblock,
        )
        .says("An operator lets a usage key claim again that AWS's refusal has blocked.")
        .needs(MarketplaceUsageCreate)
        .takes("UnblockRequest", BodyKind::Required)
        .gives("PendingResponse"),
        post("/bills", "PostBill", bills::create)
            .says("Puts a bill on the queue. What cannot be read is refused here; what becomes of the rest, its runs say.")
            .needs(MarketplaceUsageCreate)
            .takes("BillMessage", BodyKind::Required)
            .gives_queued("QueuedResponse"),
    ]
}

fn reconciliations_calls() -> Vec<Operation> {
    use Permission::{MarketplaceUsageCreate, MarketplaceUsageRetrieve};
    vec![
        get("/reconciliations", "ListReconciliations", reconciliations::list)
            .says("Comparisons of the ledger with CloudTrail, newest first, without their discrepancies.")
            .needs(MarketplaceUsageRetrieve)
            .asks(&[
                parameter("date", ParameterKind::Date, "Only those of this day."),
                parameter(
                    "integrationConfigId",
                    ParameterKind::Text,
                    "Only those of this configuration.",
                ),
                parameter(
                    "status",
                    ParameterKind::Choice(reconciliations::STATUSES),
                    "Only those of this status.",
                ),
            ])
            .pages("ReconciliationResponse", EVENTS_PAGE_MAX),
        post("/reconciliations", "RequestReconciliation", reconciliations::create)
            .says("Asks for one of the last 90 days to be compared now.")
            .needs(MarketplaceUsageCreate)
            .takes("ReconciliationRequest", BodyKind::Required)
            .gives("ReconciliationResponse"),
        get("/reconciliations/{id}", "GetReconciliation", reconciliations::retrieve)
            .says("One comparison with its discrepancies, each with both sides and the reason in words.")
            .needs(MarketplaceUsageRetrieve)
            .asks(&[parameter(
                "format",
                ParameterKind::Choice(&["json", "text", "html"]),
                "As which it is given; otherwise Accept decides.",
            )])
            .gives_report("ReconciliationResponse"),
    ]
}

fn events_calls() -> Vec<Operation> {
    use Permission::ConfigRetrieve;
    vec![
        get("/events", "ListEvents", events::list)
            .says("Events that integrations raised, newest first.")
            .needs(ConfigRetrieve)
            .asks(&[
                parameter(
                    "ids",
                    ParameterKind::Texts,
                    "Only these events; not together with other filters.",
                ),
                parameter("eventName", ParameterKind::Text, "Only events of this name."),
                parameter(
                    "eventType",
                    ParameterKind::Choice(events::CATEGORIES),
                    "Only this category.",
                ),
                parameter("accountId", ParameterKind::Text, "Only events about this account."),
                parameter(
                    "resourceId",
                    ParameterKind::Text,
                    "Only events about this entity or configuration.",
                ),
                parameter(
                    "notificationId",
                    ParameterKind::Text,
                    "Outbill raises none for notifications.",
                ),
                parameter(
                    "notificationCode",
                    ParameterKind::Text,
                    "Outbill raises none for notifications.",
                ),
                parameter(
                    "includeActioned",
                    ParameterKind::Flag,
                    "Outbill's events are never actioned.",
                ),
            ])
            .pages("EventResponse", EVENTS_PAGE_MAX),
        get("/events/types", "ListEventTypes", events::types)
            .says("The names of the events that Outbill raises.")
            .needs(ConfigRetrieve)
            .gives("EventTypeResponse"),
        get("/events/fields", "ListEventFields", events::fields)
            .says("The fields of an event's document.")
            .needs(ConfigRetrieve)
            .asks(&[parameter(
                "eventName",
                ParameterKind::Choice(events::TYPES),
                "Only this event.",
            )])
            .gives("EventFieldsResponse"),
        get("/events/{id}", "GetEvent", events::retrieve)
            .says("One event.")
            .needs(ConfigRetrieve)
            .gives("EventResponse"),
    ]
}

fn m3ter_notifications() -> Vec<Operation> {
    let notified = |operation: Operation| {
        operation
            .opens_to(Access::NotificationKey)
            .takes("NotificationRequest", BodyKind::Required)
            .gives("NotifiedResponse")
    };
    vec![
        notified(post("/m3ter/events", "NotifyWithHeader", notifications::with_header))
            .says("m3ter's notification that a bill changed: a hint, after which the bill is fetched from m3ter."),
        notified(post("/m3ter/events/{key}", "NotifyWithPath", notifications::with_path))
            .says("The same with the key as the last part of the path, for webhooks that can send no header."),
    ]
}
