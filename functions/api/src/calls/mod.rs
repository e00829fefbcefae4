//! Every call of the API: where it is, who answers it, and how it is described.
//!
//! The router and `GET /openapi.json` are both made of one [`table`], so neither has a call that the other lacks. To add a call, add a row to
//! it; its bodies are described in `schemas.json`.

mod table;

use axum::{
    handler::Handler,
    http::Method,
    routing::{self, MethodRouter},
};
use outbill::effects::access::Permission;

pub(crate) use table::all;

use crate::App;

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
    pub(crate) access: Access,
    pub(crate) query: Vec<Parameter>,
    /// The schema of the body.
    pub(crate) body: Option<Body>,
    pub(crate) answer: Answer,
}

/// What a caller has to show.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// A token of the organization that has this permission.
    Token(Permission),
    /// An access key, as HTTP Basic.
    Basic,
    /// The organization's key of notifications, in a header or in the path.
    NotificationKey,
    /// Nothing.
    Open,
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
    /// 200 with one of a schema, or with a page for people.
    Report(&'static str),
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
    /// A text that has to be given.
    TextRequired,
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

impl Operation {
    fn new(method: Method, path: String, id: &'static str, handler: MethodRouter<App>) -> Operation {
        Operation {
            method,
            path,
            handler,
            id,
            tag: "",
            summary: "",
            access: Access::Open,
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
        self.access = Access::Token(permission);
        self
    }

    fn opens_to(mut self, access: Access) -> Operation {
        self.access = access;
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

    fn gives_report(mut self, schema: &'static str) -> Operation {
        self.answer = Answer::Report(schema);
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
