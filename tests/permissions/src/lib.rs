//! What a CloudFormation template lets each of its functions do.
//!
//! The template is read as it is deployed: YAML with CloudFormation's short forms ([`yaml`]), its references and conditions resolved for
//! one [stack](template::Stack) ([`template`]), and the policies of each function's own role judged as IAM judges them ([`policy`]).
//! Whatever is not understood is an error: a policy that is skipped would look like one that allows nothing.

pub mod policy;
pub mod template;
pub mod yaml;

pub use policy::{Grant, Policy, Request, Verdict};
pub use template::{Stack, Template, TemplateError};
