//! The stand-ins as AWS's own Rust clients see them.

mod common;

use aws_sdk_marketplacemetering::types::{UsageRecord, UsageRecordResultStatus};
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use aws_smithy_runtime_api::client::interceptors::Intercept;
use common::{control, sandbox, sdk};
use jiff::Timestamp;
use sandbox::{Fault, FaultKind, Sandbox, Service};

/// Takes out the empty identifier that the SDK sends beside an account id.
#[derive(Debug)]
struct WithoutEmptyIdentifier;

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for WithoutEmptyIdentifier {
    fn name(&self) -> &'static str {
        "WithoutEmptyIdentifier"
    }

    fn modify_before_signing(
        &self,
        context: &mut aws_smithy_runtime_api::client::interceptors::context::BeforeTransmitInterceptorContextMut<'_>,
        _: &aws_smithy_runtime_api::client::runtime_components::RuntimeComponents,
        _: &mut aws_sdk_dynamodb::config::ConfigBag,
    ) -> Result<(), aws_smithy_runtime_api::box_error::BoxError> {
        let body = context.request().body().bytes().unwrap().to_vec();
        let body = String::from_utf8(body)?.replace(r#""CustomerIdentifier":"","#, "");
        let request = context.request_mut();
        request.headers_mut().insert("content-length", body.len().to_string());
        *request.body_mut() = body.into();
        Ok(())
    }
}

async fn metering(sandbox: &Sandbox) -> aws_sdk_marketplacemetering::Client {
    let config = aws_sdk_marketplacemetering::config::Builder::from(&sdk(sandbox).await)
        .interceptor(WithoutEmptyIdentifier)
        .build();
    aws_sdk_marketplacemetering::Client::from_conf(config)
}

fn usage(quantity: i32, hour: &str) -> UsageRecord {
    let hour: Timestamp = hour.parse().unwrap();
    UsageRecord::builder()
        .timestamp(aws_sdk_dynamodb::primitives::DateTime::from_secs(hour.as_second()))
        .customer_aws_account_id("111122223333")
        .customer_identifier("")
        .dimension("units")
        .quantity(quantity)
        .build()
        .unwrap()
}

#[tokio::test]
async fn metering_accepts_refuses_and_throws_like_aws() {
    let sandbox = sandbox().await;
    let client = metering(&sandbox).await;
    let send = async |quantity, hour: &str| {
        client
            .batch_meter_usage()
            .product_code("product")
            .usage_records(usage(quantity, hour))
            .send()
            .await
    };
    for (quantity, status) in [
        (7, UsageRecordResultStatus::Success),
        (7, UsageRecordResultStatus::Success),
        (11, UsageRecordResultStatus::DuplicateRecord),
    ] {
        let answer = send(quantity, "2026-03-10T10:00:00Z").await.unwrap();
        assert_eq!(answer.results()[0].status(), Some(&status));
    }
    let error = send(13, "2026-03-09T10:00:00Z").await.unwrap_err();
    assert!(error.into_service_error().is_timestamp_out_of_bounds_exception());
    let billed = sandbox.marketplace().billed();
    assert_eq!((billed.len(), billed[0].quantity), (1, 7));
    assert_eq!(billed[0].region, "us-east-1");
    assert_eq!(sandbox.requests()["metering"]["BatchMeterUsage"], 4);
    assert!(sandbox.marketplace().violations().is_empty());
}

#[tokio::test]
async fn an_empty_identifier_beside_an_account_is_refused_and_noted() {
    let sandbox = sandbox().await;
    let client = aws_sdk_marketplacemetering::Client::new(&sdk(&sandbox).await);
    let error = client
        .batch_meter_usage()
        .product_code("product")
        .usage_records(usage(7, "2026-03-10T10:00:00Z"))
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_invalid_customer_identifier_exception());
    let (_, marketplace) = control(&sandbox, "GET", "/marketplace", "").await;
    assert_eq!(marketplace["violations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn faults_lose_requests_and_answers() {
    let sandbox = sandbox().await;
    let client = metering(&sandbox).await;
    for (kind, is_billed) in [
        (FaultKind::Throttle, false),
        (FaultKind::Error, false),
        (FaultKind::AccessDenied, false),
        (FaultKind::LostRequest, false),
        (FaultKind::LostAnswer, true),
    ] {
        sandbox.faults(vec![Fault::new(Service::Metering, kind, 1)]).unwrap();
        let error = client
            .batch_meter_usage()
            .product_code("product")
            .usage_records(usage(7, "2026-03-10T10:00:00Z"))
            .send()
            .await
            .unwrap_err();
        let was_answered = error.raw_response().is_some();
        let is_lost = matches!(kind, FaultKind::LostRequest | FaultKind::LostAnswer);
        assert_eq!(was_answered, !is_lost, "{kind:?}: {error:?}");
        if kind == FaultKind::Throttle {
            assert!(error.into_service_error().is_throttling_exception());
        }
        assert_eq!(!sandbox.marketplace().billed().is_empty(), is_billed, "{kind:?}");
    }
    sandbox
        .faults(vec![Fault::new(Service::Metering, FaultKind::Unprocessed, 1)])
        .unwrap();
    let answer = client
        .batch_meter_usage()
        .product_code("product")
        .usage_records(usage(7, "2026-03-10T09:00:00Z"))
        .usage_records(usage(11, "2026-03-10T08:00:00Z"))
        .send()
        .await
        .unwrap();
    assert_eq!((answer.results().len(), answer.unprocessed_records().len()), (1, 1));
}

#[tokio::test]
async fn sqs_keeps_messages_with_their_attributes() {
    let sandbox = sandbox().await;
    let client = aws_sdk_sqs::Client::new(&sdk(&sandbox).await);
    let url = client
        .get_queue_url()
        .queue_name("outbill-bills-dead-letters")
        .send()
        .await
        .unwrap()
        .queue_url
        .unwrap();
    let reason = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("not JSON")
        .build()
        .unwrap();
    client
        .send_message()
        .queue_url(&url)
        .message_body("{ \"ä\" }")
        .message_attributes("reason", reason)
        .send()
        .await
        .unwrap();
    let (_, letters) = control(&sandbox, "GET", "/dead-letters", "").await;
    assert_eq!(letters["deadLetters"][0]["reason"], "not JSON");
    let received = client
        .receive_message()
        .queue_url(&url)
        .message_attribute_names("All")
        .send()
        .await
        .unwrap();
    assert_eq!(received.messages()[0].body(), Some("{ \"ä\" }"));
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(received.messages()[0].receipt_handle().unwrap())
        .send()
        .await
        .unwrap();
    assert!(sandbox.dead_letters().is_empty());

    let attributes = client
        .get_queue_attributes()
        .queue_url(url.replace("-dead-letters", ""))
        .attribute_names(QueueAttributeName::RedrivePolicy)
        .send()
        .await
        .unwrap();
    let policy = &attributes.attributes().unwrap()[&QueueAttributeName::RedrivePolicy];
    assert!(policy.contains(r#""maxReceiveCount":10"#), "{policy}");

    let too_long = client
        .send_message()
        .queue_url(&url)
        .message_body("x".repeat(1_048_577))
        .send()
        .await
        .unwrap_err();
    assert!(format!("{too_long:?}").contains("InvalidParameterValue"));
    let missing = client
        .send_message()
        .queue_url("http://localhost/1/none")
        .message_body("x")
        .send()
        .await
        .unwrap_err();
    assert!(missing.into_service_error().is_queue_does_not_exist());
}

#[tokio::test]
async fn sqs_reports_each_message_of_a_batch() {
    let sandbox = sandbox().await;
    let client = aws_sdk_sqs::Client::new(&sdk(&sandbox).await);
    let entry = |id: &str, body: &str| {
        aws_sdk_sqs::types::SendMessageBatchRequestEntry::builder()
            .id(id)
            .message_body(body)
            .build()
            .unwrap()
    };
    let answer = client
        .send_message_batch()
        .queue_url("http://localhost/1/outbill-bills-dead-letters")
        .entries(entry("one", "1"))
        .entries(entry("two", ""))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.successful()[0].id(), "one");
    assert_eq!(answer.failed()[0].id(), "two");
}

#[tokio::test]
async fn secrets_are_kept_in_versions() {
    let sandbox = sandbox().await;
    let client = aws_sdk_secretsmanager::Client::new(&sdk(&sandbox).await);
    let create = async || {
        client
            .create_secret()
            .name("outbill/key")
            .secret_string("first")
            .send()
            .await
    };
    let arn = create().await.unwrap().arn.unwrap();
    let error = create().await.unwrap_err().into_service_error();
    assert!(error.is_resource_exists_exception());
    client
        .put_secret_value()
        .secret_id(&arn)
        .secret_string("second")
        .send()
        .await
        .unwrap();
    let read = async |stage: &str| {
        client
            .get_secret_value()
            .secret_id("outbill/key")
            .version_stage(stage)
            .send()
            .await
    };
    assert_eq!(read("AWSCURRENT").await.unwrap().secret_string(), Some("second"));
    assert_eq!(read("AWSPREVIOUS").await.unwrap().secret_string(), Some("first"));
    let list = client.list_secrets().send().await.unwrap();
    assert_eq!(list.secret_list()[0].name(), Some("outbill/key"));
    client
        .delete_secret()
        .secret_id(&arn)
        .force_delete_without_recovery(true)
        .send()
        .await
        .unwrap();
    let error = read("AWSCURRENT").await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception());
}

#[tokio::test]
async fn an_assumed_role_carries_its_account() {
    let sandbox = sandbox().await;
    let client = aws_sdk_sts::Client::new(&sdk(&sandbox).await);
    let assume = |external_id: Option<&str>| {
        client
            .assume_role()
            .role_arn("arn:aws:iam::444455556666:role/metering")
            .role_session_name("outbill")
            .set_external_id(external_id.map(str::to_owned))
            .send()
    };
    let credentials = assume(Some("id")).await.unwrap().credentials.unwrap();
    assert!(credentials.access_key_id().starts_with("ASIA444455556666"));
    let error = assume(None).await.unwrap_err().into_service_error();
    assert_eq!(error.meta().code(), Some("AccessDenied"));
    let identity = client.get_caller_identity().send().await.unwrap();
    assert_eq!(identity.account(), Some("123456789012"));
}

#[tokio::test]
async fn a_mail_goes_to_the_outbox() {
    use aws_sdk_sesv2::types::{Body, Content, Destination, EmailContent, Message};
    let sandbox = sandbox().await;
    let client = aws_sdk_sesv2::Client::new(&sdk(&sandbox).await);
    let text = |text: &str| Content::builder().data(text).build().unwrap();
    let message = Message::builder()
        .subject(text("disabled"))
        .body(Body::builder().text(text("20 runs failed")).build())
        .build();
    client
        .send_email()
        .from_email_address("outbill@example.com")
        .destination(Destination::builder().to_addresses("ops@example.com").build())
        .content(EmailContent::builder().simple(message).build())
        .send()
        .await
        .unwrap();
    let outbox = sandbox.outbox();
    assert_eq!(outbox[0].to, ["ops@example.com"]);
    assert_eq!(
        (outbox[0].subject.as_str(), outbox[0].body.as_str()),
        ("disabled", "20 runs failed")
    );
}

#[tokio::test]
async fn answers_carry_the_virtual_date_and_strangers_are_told_what_there_is() {
    let sandbox = sandbox().await;
    let answer = reqwest::get(&sandbox.addresses().aws).await.unwrap();
    assert_eq!(answer.status().as_u16(), 400);
    assert_eq!(answer.headers()["date"], "Tue, 10 Mar 2026 10:30:00 GMT");
    assert!(answer.text().await.unwrap().contains("UnknownOperationException"));
}
