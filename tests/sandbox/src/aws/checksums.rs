//! The MD5 sums by which SDKs check that SQS understood them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::queues::Attribute;

/// MD5 of a text, in hexadecimal.
pub fn md5_of_text(text: &str) -> String {
    format!("{:x}", md5::compute(text))
}

//= https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html
//# Sort all message attributes by name in ascending order.
/// MD5 of message attributes: for each in the order of names its name, type and value, each after
/// its length, the value after one byte that says whether it is text (1) or binary (2).
pub fn md5_of_attributes(attributes: &BTreeMap<String, Attribute>) -> String {
    let mut encoded = Vec::new();
    let put = |encoded: &mut Vec<u8>, bytes: &[u8]| {
        encoded.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        encoded.extend_from_slice(bytes);
    };
    for (name, attribute) in attributes {
        put(&mut encoded, name.as_bytes());
        put(&mut encoded, attribute.data_type.as_bytes());
        match (&attribute.string_value, &attribute.binary_value) {
            (Some(text), _) => {
                encoded.push(1);
                put(&mut encoded, text.as_bytes());
            }
            (None, Some(base64)) => {
                encoded.push(2);
                put(&mut encoded, &STANDARD.decode(base64).unwrap_or_default());
            }
            (None, None) => {}
        }
    }
    format!("{:x}", md5::compute(encoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_hexadecimal_md5() {
        assert_eq!(md5_of_text("hello"), "5d41402abc4b2a76b9719d911017c592");
        let attributes = BTreeMap::from([("reason".to_owned(), Attribute::text("unreadable"))]);
        assert_eq!(md5_of_attributes(&attributes).len(), 32);
    }
}
