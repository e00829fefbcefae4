//! What each function may do: its requests are judged by the policies that `template.yaml` gives its role, as on AWS.
//!
//! The functions sign with access keys of their own, so that it is known who asks. Everybody else is the operator, who may do everything.
//! Which grants were used is remembered, so that a test can find those that nobody uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use permissions::{Grant, Policy, Request, Stack, Template, TemplateError, Verdict};

use crate::aws::{HOME_ACCOUNT, queue_arn};
use crate::functions::{ALERT_SENDER, EVENT_DATA_STORE, METERING_ROLES, REGION, SECRET_PREFIX, TABLE};
use crate::queues::QueueName;

/// The template as it is deployed.
pub const TEMPLATE: &str = include_str!("../../../template.yaml");

/// One of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Function {
    /// The one behind the bill queue.
    BillDispatch,
    /// The one behind the API.
    Api,
    /// The one behind the schedules.
    Reconcile,
}

impl Function {
    /// All of them.
    pub const ALL: [Function; 3] = [Function::BillDispatch, Function::Api, Function::Reconcile];

    /// What the template calls it.
    pub fn logical_id(self) -> &'static str {
        match self {
            Function::BillDispatch => "BillDispatchFunction",
            Function::Api => "ApiFunction",
            Function::Reconcile => "ReconcileFunction",
        }
    }

    /// Its program.
    pub fn program(self) -> &'static str {
        match self {
            Function::BillDispatch => "bill-dispatch",
            Function::Api => "api",
            Function::Reconcile => "reconcile",
        }
    }

    /// The access key that it signs with. On AWS this is a session of its role; nothing here checks signatures.
    pub fn access_key_id(self) -> &'static str {
        match self {
            Function::BillDispatch => "AKIASANDBOXDISPATCH0",
            Function::Api => "AKIASANDBOXAPI000000",
            Function::Reconcile => "AKIASANDBOXRECONCILE",
        }
    }

    /// Whose access key it is; none: the operator's, or that of a role that was assumed.
    pub fn of(access_key_id: &str) -> Option<Function> {
        let signs = |function: &Function| function.access_key_id() == access_key_id;
        Function::ALL.into_iter().find(signs)
    }
}

/// A request that a function's policies do not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Who asked.
    pub function: Function,
    /// The action.
    pub action: String,
    /// On what.
    pub resource: String,
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denial {
            function,
            action,
            resource,
        } = self;
        let role = function.logical_id();
        write!(
            formatter,
            "User: arn:aws:sts::{HOME_ACCOUNT}:assumed-role/{role}/sandbox is not authorized to perform: {action} on resource: \
             {resource} because no identity-based policy allows the {action} action"
        )
    }
}

type Policies = BTreeMap<Function, Policy>;

/// The judge of one sandbox, and what it has seen.
#[derive(Debug)]
pub struct Authorization {
    policies: Arc<Policies>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    used: BTreeSet<(Function, Grant)>,
    denied: Vec<Denial>,
}

impl Authorization {
    /// With the policies of a template; absent: the deployed one, which is read once.
    pub fn new(template: Option<&str>) -> Result<Authorization, TemplateError> {
        static DEPLOYED: OnceLock<Arc<Policies>> = OnceLock::new();
        let policies = match (template, DEPLOYED.get()) {
            (Some(template), _) => Arc::new(read(template)?),
            (None, Some(deployed)) => Arc::clone(deployed),
            (None, None) => {
                let deployed = Arc::new(read(TEMPLATE)?);
                Arc::clone(DEPLOYED.get_or_init(|| deployed))
            }
        };
        Ok(Authorization {
            policies,
            seen: Mutex::default(),
        })
    }

    /// Judges all that one request needs.
    pub fn judge(&self, function: Function, needs: &[Request]) -> Result<(), Denial> {
        let policy = self.policies.get(&function);
        let mut used = Vec::new();
        for need in needs {
            match policy.map_or(Verdict::NotAllowed, |policy| policy.judge(need)) {
                Verdict::Allowed(grant) => used.push((function, grant)),
                Verdict::NotAllowed => {
                    let denial = Denial {
                        function,
                        action: need.action.clone(),
                        resource: need.resource.clone(),
                    };
                    tracing::error!(%denial, "the template's policies deny a request");
                    self.seen().denied.push(denial.clone());
                    return Err(denial);
                }
            }
        }
        self.seen().used.extend(used);
        Ok(())
    }

    /// What was denied, oldest first.
    pub fn denials(&self) -> Vec<Denial> {
        self.seen().denied.clone()
    }

    /// What a template gives and no request has used.
    pub fn unused(&self) -> BTreeSet<(Function, Grant)> {
        let given = self.policies.iter();
        let given = given.flat_map(|(function, policy)| policy.grants().into_iter().map(|grant| (*function, grant)));
        let seen = self.seen();
        given.filter(|grant| !seen.used.contains(grant)).collect()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(template: &str) -> Result<Policies, TemplateError> {
    let mut by_id = Template::parse(template)?.policies(&stack())?;
    let mut policies = Policies::new();
    for function in Function::ALL {
        let id = function.logical_id();
        let policy = by_id.remove(id).ok_or_else(|| TemplateError::Unknown(id.to_owned()))?;
        policies.insert(function, policy);
    }
    match by_id.into_keys().next() {
        Some(id) => Err(TemplateError::Form {
            place: id,
            why: "is a function that the sandbox does not run, so nothing shows what it needs".to_owned(),
        }),
        None => Ok(policies),
    }
}

/// The stack that the sandbox stands for: every parameter that a policy depends on is given.
fn stack() -> Stack {
    let owned = |pairs: &[(&str, &str)]| {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect::<BTreeMap<_, _>>()
    };
    let mut names = owned(&[
        ("AWS::Partition", "aws"),
        ("AWS::Region", REGION),
        ("AWS::AccountId", HOME_ACCOUNT),
    ]);
    let arn = |service: &str, name: &str| format!("arn:aws:{service}:{REGION}:{HOME_ACCOUNT}:{name}");
    names.insert("Table.Arn".to_owned(), arn("dynamodb", &format!("table/{TABLE}")));
    names.insert("BillQueue.Arn".to_owned(), queue_arn(QueueName::Bills));
    names.insert("BillDeadLetterQueue.Arn".to_owned(), queue_arn(QueueName::DeadLetters));
    for logs in ["BillDispatchLogs", "ApiLogs", "ReconcileLogs"] {
        names.insert(format!("{logs}.Arn"), arn("logs", &format!("log-group:{logs}:*")));
    }
    let store = arn("cloudtrail", &format!("eventdatastore/{EVENT_DATA_STORE}"));
    Stack {
        parameters: owned(&[
            ("SecretPrefix", SECRET_PREFIX),
            ("AlertSender", ALERT_SENDER),
            ("MeteringRoleName", METERING_ROLES),
            ("EventDataStoreArn", &store),
            ("Tracing", "Active"),
        ]),
        names,
    }
}
