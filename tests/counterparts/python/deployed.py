"""What an operator and a seller do with a stack of template.yaml, on an emulator of AWS.

Given by the environment: where the emulator listens (AWS_ENDPOINT_URL), the stack's name (STACK), the sandbox's controls (SANDBOX_CONTROLS),
and what to do (the only argument): `use` the stack, or look at what is `left` of it after its deletion.
"""

import base64
import datetime
import hashlib
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

import boto3
from botocore.exceptions import ClientError

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
STACK = os.environ["STACK"]
ORGANIZATION = "organization"
# Of each account: a buyer, who takes one quantity an hour.
BUYERS = {"acme": "111122223333", "globex": "444455556666"}
DIMENSION = "3mgmp9q6okn47u0rgmzzjdi9k-total"
KEY, SECRET = "operator", "a secret of this test"
# A cold debug build on a busy machine.
WAIT_SECONDS = 120


def aws(service):
    return boto3.client(service)


def wait_for(what, look):
    """Looks until something is there; says what is not."""
    until = time.monotonic() + WAIT_SECONDS
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < until, f"{what}: not within {WAIT_SECONDS} seconds"
        time.sleep(0.5)


def call(method, url, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.code} {error.read().decode()}") from error


def sandbox(method, control, body=None):
    return call(method, f"{os.environ['SANDBOX_CONTROLS']}/{control}", body)


def keep_the_sandbox_in_time():
    """Its clock stands still unless it is moved; the functions of the stack live in the machine's time."""
    while True:
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        sandbox("POST", "clock", {"now": now})
        time.sleep(1)


class Stack:
    def __init__(self):
        formation = aws("cloudformation")
        described = formation.describe_stacks(StackName=STACK)["Stacks"][0]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        pages = formation.get_paginator("list_stack_resources").paginate(StackName=STACK)
        listed = [resource for page in pages for resource in page["StackResourceSummaries"]]
        self.names = {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in listed}


def check_what_was_deployed(stack):
    functions = aws("lambda")
    for name in ("BillDispatch", "Api", "Reconcile"):
        found = functions.get_function_configuration(FunctionName=stack.names[f"{name}Function"])
        assert found["Role"] == stack.outputs[f"{name}RoleArn"], found
        variables = found["Environment"]["Variables"]
        assert variables["OUTBILL_TABLE"] == stack.outputs["TableName"], variables
        assert "" not in [value for key, value in variables.items() if key.startswith("AWS_ENDPOINT_URL")], variables
    # Two stacks in one region must not want the same name.
    shared = [name for name, physical in stack.names.items() if name == physical]
    assert not shared, f"these names belong to the whole account: {shared}"
    print("deployed:", len(stack.names), "resources")


def connect_the_api(stack):
    """The emulator makes no routes of AWS::Serverless::HttpApi."""
    gateway, api = aws("apigatewayv2"), stack.names["HttpApi"]
    function = aws("lambda").get_function_configuration(FunctionName=stack.names["ApiFunction"])["FunctionArn"]
    integration = gateway.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=function, PayloadFormatVersion="2.0"
    )
    gateway.create_route(ApiId=api, RouteKey="$default", Target=f"integrations/{integration['IntegrationId']}")
    return f"{ENDPOINT}/_aws/execute-api/{api}/$default"


def log_in(api):
    """The access key is made as docs/access.md says."""
    key = {
        "orgId": ORGANIZATION,
        "secretSha256": hashlib.sha256(SECRET.encode()).hexdigest(),
        "permissions": ["CONFIG_CREATE", "CONFIG_RETRIEVE", "MARKETPLACE_USAGE_CREATE", "MARKETPLACE_USAGE_RETRIEVE"],
    }
    aws("secretsmanager").create_secret(Name=f"outbill/access-keys/{KEY}", SecretString=json.dumps(key))
    basic = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
    answer = call("POST", f"{api}/oauth/token", {"grant_type": "client_credentials"}, {"Authorization": f"Basic {basic}"})
    token = {"Authorization": f"Bearer {answer['access_token']}"}
    return lambda method, path, body=None: call(method, f"{api}/organizations/{ORGANIZATION}/{path}", body, token)


def bill(name, account, amount):
    """A bill message as m3ter sends one: the amount is a decimal, which Python's JSON would make a float."""
    line = '{"lineItemType": "USAGE", "currency": "USD", "convertedSubtotal": %s}' % amount
    whole = f'"id": "{name}", "accountId": "{account}", "version": 1, "currency": "USD", "startDate": "2025-06-01"'
    return f'{{"orgId": "{ORGANIZATION}", "bill": {{{whole}, "lineItems": [{line}]}}}}'


def make_a_dead_letter(stack):
    """A bill of an organization that has no configuration yet cannot be sent anywhere."""
    queue = aws("sqs")
    queue.send_message(QueueUrl=stack.outputs["BillQueueUrl"], MessageBody=bill("early", "globex", "5.03"))
    dead = {"QueueUrl": stack.outputs["BillDeadLetterQueueUrl"], "MessageAttributeNames": ["All"], "VisibilityTimeout": 0}
    letter = wait_for("a dead letter", lambda: queue.receive_message(**dead).get("Messages"))[0]
    reason = letter["MessageAttributes"]["reason"]["StringValue"]
    assert "has no integration configuration" in reason, reason
    print("dead letter:", reason)


def set_up(seller):
    credential = seller("POST", "integrationcredentials", {"type": "AWS_INTEGRATION", "destination": "AWS"})
    settings = {
        "splitUsageLineItems": "ITEM_PER_BILL",
        "marketplaceBillDimension": DIMENSION,
        "awsMarketplaceCloudtrailChecks": True,
    }
    made = {"entityType": "Bill", "destination": "AWS", "name": "bills", "configData": settings}
    configuration = seller("POST", "integrationconfigs", {**made, "integrationCredentialsId": credential["id"]})
    for account, buyer in BUYERS.items():
        mapping = {"m3terEntity": "Account", "m3terId": account, "externalSystem": "AWS", "externalTable": "Customer"}
        seller("POST", "externalmappings", {**mapping, "externalId": buyer})
    return configuration["id"]


def billed():
    return sum(row["quantity"] for row in sandbox("GET", "marketplace")["billed"])


def meter_a_bill(stack, seller):
    sandbox("POST", "cloudtrail", {"delaySeconds": 0})
    aws("sqs").send_message(QueueUrl=stack.outputs["BillQueueUrl"], MessageBody=bill("june", "acme", "101.03"))
    run = wait_for("the end of the bill's run", lambda: completed(seller, "june"))
    assert billed() == 10103, billed()
    report = seller("GET", "integrationdestinations/marketplace/usageReport")
    print("metered: 10103 units; run", run["id"])
    print("usage report:", json.dumps(report))
    [(hour, units)] = report["data"][0]["reportedUsage"][DIMENSION].items()
    assert units == 10103, report
    return hour[: len("2025-06-10")]


def completed(seller, name):
    runs = seller("GET", f"integrationruns/Bill/{name}")["data"]
    assert not [run for run in runs if run["status"].endswith("ERROR")], runs
    return next((run for run in runs if run["status"] == "COMPLETE"), None)


def redrive(stack, seller):
    """As start-message-move-task does, which the emulator does not have."""
    queue, dead = aws("sqs"), stack.outputs["BillDeadLetterQueueUrl"]
    letters = wait_for("the dead letter", lambda: queue.receive_message(QueueUrl=dead).get("Messages"))
    assert len(letters) == 1, letters
    queue.send_message(QueueUrl=stack.outputs["BillQueueUrl"], MessageBody=letters[0]["Body"])
    queue.delete_message(QueueUrl=dead, ReceiptHandle=letters[0]["ReceiptHandle"])
    wait_for("the redriven bill's run", lambda: completed(seller, "early"))
    assert not queue.receive_message(QueueUrl=dead).get("Messages")
    assert billed() == 10103 + 503, billed()
    print("redriven: AWS Marketplace holds its 503 units too")


def reconcile(seller, configuration, day):
    """Asked for by the API, begun by the schedule of every minute."""
    asked = seller("POST", "reconciliations", {"date": day, "integrationConfigId": configuration})
    ended = ("MATCHES", "DIFFERS", "CORRECTED", "PARTLY_CHECKED", "NOT_CHECKED", "FAILED")

    def report():
        found = seller("GET", f"reconciliations/{asked['id']}")
        return found if found["status"] in ended else None

    found = wait_for("a report", report)
    print("reconciled:", found["status"], json.dumps(found["dimensions"]), found["unchecked"])
    assert found["status"] == "MATCHES" and found["dimensions"][0]["received"] == 10103, found


def use():
    threading.Thread(target=keep_the_sandbox_in_time, daemon=True).start()
    stack = Stack()
    check_what_was_deployed(stack)
    seller = log_in(connect_the_api(stack))
    make_a_dead_letter(stack)
    configuration = set_up(seller)
    day = meter_a_bill(stack, seller)
    reconcile(seller, configuration, day)
    redrive(stack, seller)


def left():
    """The ledger and what could not be billed outlive the stack; nothing else does."""
    try:
        status = aws("cloudformation").describe_stacks(StackName=STACK)["Stacks"][0]["StackStatus"]
    except ClientError:
        status = "DELETE_COMPLETE"
    assert status == "DELETE_COMPLETE", status
    tables = aws("dynamodb").list_tables()["TableNames"]
    queues = aws("sqs").list_queues().get("QueueUrls", [])
    assert len(tables) == 1 and tables[0].startswith(f"{STACK}-Table"), tables
    assert len(queues) == 1 and "BillDeadLetterQueue" in queues[0], queues
    assert not aws("lambda").list_functions()["Functions"]
    assert not aws("scheduler").list_schedules()["Schedules"]
    print("left:", tables[0], "and the dead-letter queue")


{"use": use, "left": left}[sys.argv[1]]()
