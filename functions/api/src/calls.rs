//! Every call of the API: where it is, who answers it, and how it is described.
//!
//! The router and `GET /openapi.json` are both made of this one table, so neither has a call that the other lacks. To add a call, add a row;
//! its bodies are described in `schemas.json`.

use axum::{
    handler::Handler,
    http::Method,
    routing::{self, MethodRouter},
};
use outbill::{effects::access::Permission, values::configuration::DESTINATIONS};

use crate::{
    App, bills, configurations, credentials, events, mappings, names, openapi, options,
    page::{EVENTS_PAGE_MAX, PAGE_MAX},
    runs, token, usage_report,
};

/// Where everything of an organization lies.
const ORGANIZATION: &str = "/organizations/{orgId}";

/// A call.
pub(crate) struct Operation {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) handler: MethodRouter<App>,
    /// m3ter's name of the operation, or ours.
    pub(crate) id: &'static str,
    /// What it is about; the headings of the reference.
    pub(crate) tag: &'static str,
    pub(crate) summary: &'static str,
    /// None: it needs no token.
    pub(crate) permission: Option<Permission>,
    pub(crate) query: Vec<Parameter>,
    /// The schema of the body.
    pub(crate) body: Option<Body>,
    pub(crate) answer: Answer,
}

/// What a call takes.
#[derive(Clone, Copy)]
pub(crate) struct Body {
    pub(crate) schema: &'static str,
    pub(crate) kind: BodyKind,
}

/// Which form a body has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// It has to be there.
    Required,
    /// It may be left out.
    Optional,
    /// It has to be there, with the version that was read.
    Update,
    /// It has to be there, as JSON or as a form.
    JsonOrForm,
}

/// What a call gives.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// 200 with one of a schema.
    One(&'static str),
    /// 200 with a page of them.
    Page(&'static str),
    /// 200 with a list of them.
    List(&'static str),
    /// 202 with one of a schema: it was put on the queue.
    Queued(&'static str),
}

/// A parameter of the query.
#[derive(Clone, Copy)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: ParameterKind,
    pub(crate) description: &'static str,
}

/// What a parameter may be.
#[derive(Clone, Copy)]
pub(crate) enum ParameterKind {
    Text,
    /// At most so many characters.
    ShortText(usize),
    Flag,
    Date,
    /// An instant or a date.
    Instant,
    /// Repeated, or joined with commas.
    Texts,
    /// The same, and it has to be given.
    TextsRequired,
    /// m3ter's name of a run's status.
    RunStatus,
    /// One of these.
    Choice(&'static [&'static str]),
    /// From 1 to this.
    PageSize(usize),
}

const fn parameter(name: &'static str, kind: ParameterKind, description: &'static str) -> Parameter {
    Parameter {
        name,
        kind,
        description,
    }
}

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

impl Operation {
    fn new(method: Method, path: String, id: &'static str, handler: MethodRouter<App>) -> Operation {
        Operation {
            method,
            path,
            handler,
            id,
            tag: "",
            summary: "",
            permission: None,
            query: Vec::new(),
            body: None,
            answer: Answer::One("Error"),
        }
    }

    fn says(mut self, summary: &'static str) -> Operation {
        self.summary = summary;
        self
    }

    fn needs(mut self, permission: Permission) -> Operation {
        self.permission = Some(permission);
        self
    }

    fn asks(mut self, parameters: &[Parameter]) -> Operation {
        self.query.extend(parameters);
        self
    }

    fn takes(mut self, schema: &'static str, kind: BodyKind) -> Operation {
        self.body = Some(Body { schema, kind });
        self
    }

    fn gives(mut self, schema: &'static str) -> Operation {
        self.answer = Answer::One(schema);
        self
    }

    fn gives_list(mut self, schema: &'static str) -> Operation {
        self.answer = Answer::List(schema);
        self
    }

    fn gives_queued(mut self, schema: &'static str) -> Operation {
        self.answer = Answer::Queued(schema);
        self
    }

    /// Pages of at most so many.
    fn pages(mut self, schema: &'static str, size_max: usize) -> Operation {
        self.answer = Answer::Page(schema);
        self.asks(&[
            parameter(
                "pageSize",
                ParameterKind::PageSize(size_max),
                "How many to give at most; the largest page unless given.",
            ),
            parameter(
                "nextToken",
                ParameterKind::Text,
                "The last page's `nextToken`, with the same filters.",
            ),
        ])
    }
}

fn get<H, T>(path: &str, id: &'static str, handler: H) -> Operation
where
    H: Handler<T, App>,
    T: 'static,
{
    Operation::new(Method::GET, format!("{ORGANIZATION}{path}"), id, routing::get(handler))
}

fn post<H, T>(path: &str, id: &'static str, handler: H) -> Operation
where
    H: Handler<T, App>,
    T: 'static,
{
    Operation::new(
        Method::POST,
        format!("{ORGANIZATION}{path}"),
        id,
        routing::post(handler),
    )
}

fn put<H, T>(path: &str, id: &'static str, handler: H) -> Operation
where
    H: Handler<T, App>,
    T: 'static,
{
    Operation::new(Method::PUT, format!("{ORGANIZATION}{path}"), id, routing::put(handler))
}

fn delete<H, T>(path: &str, id: &'static str, handler: H) -> Operation
where
    H: Handler<T, App>,
    T: 'static,
{
    Operation::new(
        Method::DELETE,
        format!("{ORGANIZATION}{path}"),
        id,
        routing::delete(handler),
    )
}

fn tagged(tag: &'static str, operations: Vec<Operation>) -> impl Iterator<Item = Operation> {
    operations
        .into_iter()
        .map(move |operation| Operation { tag, ..operation })
}

/// The table, in the order of the reference.
pub(crate) fn all() -> Vec<Operation> {
    let mut all = Vec::new();
    all.extend(tagged("Access", access()));
    all.extend(tagged("Integration configurations", integration_configurations()));
    all.extend(tagged("Integration credentials", integration_credentials()));
    all.extend(tagged("External mappings", external_mappings()));
    all.extend(tagged("Integration runs", integration_runs()));
    all.extend(tagged("Marketplace", marketplace()));
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
            .says("Takes it away, unless external mappings are linked to it. Its bills pass to the next configuration that may send them.")
            .needs(ConfigDelete)
            .gives("IntegrationConfigResponse"),
        post("/integrationconfigs/{id}/enable", "EnableIntegrationConfig", configurations::enable)
            .says("Enables it after 20 successive failures have disabled it, and sends what waited.")
            .needs(ConfigUpdate)
            .gives("IntegrationConfigResponse"),
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
            .says("A run's log, a JSON list in base64: the configuration of that moment, the reasons, and the exact payloads exchanged.")
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
        .says("What AWS accepted: bill by bill, dimension by dimension, hour by hour.")
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
        post("/bills", "PostBill", bills::create)
            .says("Puts a bill on the queue. What cannot be read is refused here; what becomes of the rest, its runs say.")
            .needs(MarketplaceUsageCreate)
            .takes("BillMessage", BodyKind::Required)
            .gives_queued("QueuedResponse"),
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
