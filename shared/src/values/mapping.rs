//! External mappings: what a thing of m3ter's is called in another system.
//!
//! For AWS, an Account is mapped to the buyer and a Product or an Aggregation to a dimension. Systems, entities and AWS's tables are matched
//! without regard to case and kept in one spelling.

use super::{
    configuration::Audit,
    dimension::MarketplaceDimension,
    ids::{ConfigurationId, IdError, OrganizationId},
};

/// The external system of AWS Marketplace's mappings.
pub const AWS: &str = "AWS";
/// The m3ter entity of a buyer.
pub const ACCOUNT: &str = "Account";
/// A m3ter entity that is metered on a dimension.
pub const PRODUCT: &str = "Product";
/// The same.
pub const AGGREGATION: &str = "Aggregation";
/// The same.
pub const COMPOUND_AGGREGATION: &str = "CompoundAggregation";
/// The table of a buyer's AWS account id or customer identifier.
pub const CUSTOMER: &str = "Customer";
/// The table of a buyer's licence.
pub const LICENSE: &str = "License";
/// The table of Marketplace dimensions.
pub const DIMENSION: &str = "Dimension";

/// The m3ter entities that AWS's mappings can be of.
pub const AWS_ENTITIES: &[&str] = &[ACCOUNT, PRODUCT, AGGREGATION, COMPOUND_AGGREGATION];
/// The tables that AWS's mappings can be in.
pub const AWS_TABLES: &[&str] = &[CUSTOMER, LICENSE, DIMENSION];

/// The parts of a mapping become row keys, which DynamoDB limits to 2,048 bytes together.
const NAME_BYTES_MAX: usize = 128;
const EXTERNAL_ID_BYTES_MAX: usize = 1_024;
//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecord.html
//# CustomerIdentifier: length 1 to 255
const CUSTOMER_BYTES_MAX: usize = 255;

/// One mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalMapping {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub organization: OrganizationId,
    /// 1 when made, one more with each change.
    pub version: i64,
    /// The kind of thing in m3ter, such as `Account`.
    pub m3ter_entity: String,
    /// Its id in m3ter.
    pub m3ter_id: String,
    /// The other system, such as `AWS`.
    pub external_system: String,
    /// Where in the other system, such as `Customer`.
    pub external_table: String,
    /// Its id there.
    pub external_id: String,
    /// The configuration that it is linked to; none: it counts for all.
    pub configuration: Option<ConfigurationId>,
    /// Who and when.
    pub audit: Audit,
}

/// Why a mapping cannot be stored: the field in m3ter's spelling, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct MappingError {
    /// The field of the request.
    pub field: &'static str,
    /// What is wrong and what would be right.
    pub problem: String,
}

fn refuse<T>(field: &'static str, problem: impl Into<String>) -> Result<T, MappingError> {
    Err(MappingError {
        field,
        problem: problem.into(),
    })
}

impl ExternalMapping {
    /// The same with its names in the one spelling that is stored. Errors: the first field that no mapping can have.
    pub fn checked(mut self) -> Result<ExternalMapping, MappingError> {
        printable("m3terEntity", &self.m3ter_entity, NAME_BYTES_MAX)?;
        printable("m3terId", &self.m3ter_id, NAME_BYTES_MAX)?;
        printable("externalSystem", &self.external_system, NAME_BYTES_MAX)?;
        printable("externalTable", &self.external_table, NAME_BYTES_MAX)?;
        printable("externalId", &self.external_id, EXTERNAL_ID_BYTES_MAX)?;
        super::ids::AccountId::new(&*self.m3ter_id).or_else(|error: IdError| refuse("m3terId", error.to_string()))?;
        canonical(&mut self.m3ter_entity, AWS_ENTITIES);
        canonical(&mut self.external_system, &[AWS]);
        if self.external_system == AWS {
            canonical(&mut self.external_table, AWS_TABLES);
            self.check_aws()?;
        }
        Ok(self)
    }

    fn check_aws(&self) -> Result<(), MappingError> {
        if !AWS_ENTITIES.contains(&self.m3ter_entity.as_str()) {
            return refuse(
                "m3terEntity",
                format!("for AWS choose one of {}", AWS_ENTITIES.join(", ")),
            );
        }
        if self.m3ter_entity != ACCOUNT {
            return match self.external_id.parse::<MarketplaceDimension>() {
                Ok(_) => Ok(()),
                Err(error) => refuse("externalId", format!("{:?} is no dimension: {error}", self.external_id)),
            };
        }
        match self.external_table.as_str() {
            CUSTOMER if self.external_id.contains(char::is_whitespace) || is_misspelt_account_id(&self.external_id) => {
                let problem = format!(
                    "{:?}: give the buyer's AWS account id, 12 digits without hyphens, or its customer identifier",
                    self.external_id
                );
                refuse("externalId", problem)
            }
            CUSTOMER => printable("externalId", &self.external_id, CUSTOMER_BYTES_MAX),
            LICENSE if is_licence_arn(&self.external_id) => Ok(()),
            LICENSE => refuse(
                "externalId",
                "give the licence's ARN, such as arn:aws:license-manager::123456789012:license:l-…",
            ),
            _ => refuse(
                "externalTable",
                "an Account is mapped to AWS in the table Customer (the 12-digit AWS account id, or the customer identifier) \
                 or License (the licence's ARN)",
            ),
        }
    }
}

/// An account id with a digit too many or too few, or as the AWS console shows it: taken for a customer identifier, AWS would refuse it only
/// when usage is sent.
fn is_misspelt_account_id(text: &str) -> bool {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let hyphens = text.bytes().filter(|byte| *byte == b'-').count();
    digits + hyphens == text.len() && (digits != 12 || hyphens > 0)
}

/// The one spelling of an entity or a system for keys and look-ups.
pub fn folded(name: &str) -> String {
    name.to_lowercase()
}

fn canonical(name: &mut String, known: &[&str]) {
    if let Some(spelling) = known.iter().find(|spelling| spelling.eq_ignore_ascii_case(name)) {
        *name = (*spelling).to_owned();
    }
}

fn printable(field: &'static str, text: &str, bytes_max: usize) -> Result<(), MappingError> {
    if text.is_empty() {
        return refuse(field, "it is empty; give a value");
    }
    if text.len() > bytes_max {
        return refuse(field, format!("it is longer than {bytes_max} bytes"));
    }
    if text.trim() != text {
        return refuse(field, "take away the space at its start or end");
    }
    match text.chars().find(|character| character.is_control()) {
        Some(character) => refuse(field, format!("it holds the control character {character:?}")),
        None => Ok(()),
    }
}

//= https://docs.aws.amazon.com/marketplace/latest/APIReference/API_marketplace-metering_UsageRecord.html
//# LicenseArn, in its parts: arn:aws[a-zA-Z-]* : service, up to 63 : region, up to 63 : account, up to 63 : resource, up to 1024;
//# service and resource begin with a letter or a digit
fn is_licence_arn(text: &str) -> bool {
    let of = |signs: &'static str| {
        move |part: &str| {
            part.chars()
                .all(|sign| sign.is_ascii_alphanumeric() || signs.contains(sign))
        }
    };
    let (is_name, is_resource) = (of("_/.-"), of(":_/+=,@.-"));
    let begins = |part: &str| part.starts_with(|first: char| first.is_ascii_alphanumeric());
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, service, region, account, resource] = parts.as_slice() else {
        return false;
    };
    let rest = partition.strip_prefix("aws");
    rest.is_some_and(|rest| rest.chars().all(|sign| sign.is_ascii_alphabetic() || sign == '-'))
        && [service, region, account]
            .iter()
            .all(|part| part.len() <= 63 && is_name(part))
        && begins(service)
        && resource.len() <= 1_024
        && is_resource(resource)
        && begins(resource)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn mapping(entity: &str, system: &str, table: &str, external_id: &str) -> ExternalMapping {
        ExternalMapping {
            id: "m1".to_owned(),
            organization: OrganizationId::new("o1").unwrap(),
            version: 1,
            m3ter_entity: entity.to_owned(),
            m3ter_id: "a1".to_owned(),
            external_system: system.to_owned(),
            external_table: table.to_owned(),
            external_id: external_id.to_owned(),
            configuration: None,
            audit: Audit::new(Timestamp::UNIX_EPOCH, "key"),
        }
    }

    #[test]
    fn a_mapping_is_checked_by_its_table() {
        let check = |entity: &str, system: &str, table: &str, external_id: &str, expect: Result<(), &str>| {
            let checked = mapping(entity, system, table, external_id).checked();
            let field = checked.map(|_| ()).map_err(|error| error.field);
            assert_eq!(field, expect, "{entity} {system} {table} {external_id}");
        };
        let licence = "arn:aws:license-manager::294406891311:license:l-ecbb83e5";
        check("Account", "AWS", "Customer", "123456789012", Ok(()));
        check("account", "aws", "customer", "ifAPi5AcF3", Ok(()));
        check("Account", "AWS", "License", licence, Ok(()));
        check("Account", "AWS", "License", "l-ecbb83e5", Err("externalId"));
        check(
            "Account",
            "AWS",
            "License",
            "arn:aws-cn:l/m:r.1:9:l:a@b,c=d+e/f",
            Ok(()),
        );
        for (from, to) in [
            ("ecbb83e5", "ecbb83e5\""),
            ("ecbb83e5", "ecbb\u{2011}83e5"),
            ("license:l", " license:l"),
            (":license:", ":-license:"),
            ("license-manager", ""),
            ("license-manager", "-manager"),
            (":aws:", ":aws1:"),
            (":aws:", ":other:"),
            ("294406891311", "2944 06891311"),
        ] {
            check(
                "Account",
                "AWS",
                "License",
                &licence.replace(from, to),
                Err("externalId"),
            );
        }
        let long = |part: &str, most: usize| licence.replace(part, &"x".repeat(most));
        check("Account", "AWS", "License", &long("294406891311", 63), Ok(()));
        check(
            "Account",
            "AWS",
            "License",
            &long("294406891311", 64),
            Err("externalId"),
        );
        check("Account", "AWS", "Buyer", "123456789012", Err("externalTable"));
        check("Account", "AWS", "Customer", "12 34", Err("externalId"));
        check("Account", "AWS", "Customer", "1234-5678-9012", Err("externalId"));
        check("Account", "AWS", "Customer", "12345678901", Err("externalId"));
        check("Account", "AWS", "Customer", "", Err("externalId"));
        check("Account", "AWS", "Customer", " 1", Err("externalId"));
        check("Account", "AWS", "Customer", &"i".repeat(255), Ok(()));
        check("Account", "AWS", "Customer", &"i".repeat(256), Err("externalId"));
        check("Product", "AWS", "Dimension", "abc-users", Ok(()));
        check("Aggregation", "AWS", "Anything", "abc-users", Ok(()));
        check("CompoundAggregation", "AWS", "Dimension", "users", Err("externalId"));
        check("Meter", "AWS", "Dimension", "abc-users", Err("m3terEntity"));
        check("Meter", "Stripe", "Customer", "cus_1", Ok(()));
        check("Account", "Stripe", "Customer", &"x".repeat(1_025), Err("externalId"));
        check("Acc\nount", "Stripe", "Customer", "cus_1", Err("m3terEntity"));
    }

    #[test]
    fn names_are_kept_in_one_spelling() {
        let checked = mapping("compoundaggregation", "Aws", "dimension", "abc-users")
            .checked()
            .unwrap();
        assert_eq!(
            (
                checked.m3ter_entity.as_str(),
                checked.external_system.as_str(),
                checked.external_table.as_str()
            ),
            ("CompoundAggregation", "AWS", "Dimension")
        );
    }
}
