//! What an operator decides by hand, and why.

use outbill::values::entry::ByHand;
use serde_json::Value;

use crate::{body::Fields, call::Call, error::ApiError};

/// A reason is read in a list; a longer story belongs elsewhere.
const REASON_CHARACTERS_MAX: usize = 1_000;

/// `{"reason"}`: all that most decisions need.
pub(crate) fn read(call: &Call, body: Value) -> Result<ByHand, ApiError> {
    let mut fields = Fields::of_call(call, body, &["reason"])?;
    let reason = reason(&mut fields);
    fields.done()?;
    Ok(decided(call, reason))
}

/// The reason, which has to be given.
pub(crate) fn reason(fields: &mut Fields) -> String {
    let reason = fields.required("reason");
    if reason.chars().count() > REASON_CHARACTERS_MAX {
        fields.refuse("reason", &format!("give at most {REASON_CHARACTERS_MAX} characters"));
    }
    reason
}

/// Who decides, and when.
pub(crate) fn decided(call: &Call, reason: String) -> ByHand {
    ByHand {
        by: call.by.clone(),
        at: call.now,
        reason,
    }
}
