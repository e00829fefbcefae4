"""m3ter's Python SDK, as it is, pointed at Outbill by the SDK's own environment variables.

Calls that the SDK has no method for go through its raw requests, with its authentication. Every check is a plain
assertion; at the end the number of calls is printed.
"""

import base64
import json
import os
import re
import time
import urllib.request

import m3ter
from m3ter import BadRequestError, M3ter, NotFoundError, PermissionDeniedError

PRODUCT = "3mgmp9q6okn47u0rgmzzjdi9k"
ORGANIZATION = os.environ["M3TER_ORG_ID"]

requests = []


def note(request):
    requests.append((request.method, request.url.path))


client = M3ter(http_client=m3ter.DefaultHttpxClient(event_hooks={"request": [note]}), max_retries=0)


def raw(method, path, body=None):
    path = f"/organizations/{ORGANIZATION}/{path}"
    call = getattr(client, method)
    return call(path, cast_to=object) if body is None else call(path, cast_to=object, body=body)


def refused(status, call, *hints):
    try:
        call()
    except m3ter.APIStatusError as error:
        assert error.status_code == status, (error.status_code, error.body)
        assert set(error.body) == {"message"}, error.body
        for hint in hints:
            assert hint in error.body["message"], (hint, error.body)
        return error
    raise AssertionError(f"nothing was refused; expected {status} {hints}")


def control(path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(os.environ["SANDBOX_CONTROLS"] + path, data) as answer:
        return json.load(answer)


def settle(bill, statuses=("COMPLETE", "ERROR", "WAITING")):
    """A bill is handled by the queue: its newest run says when."""
    for _ in range(100):
        try:
            run = raw("get", f"integrationruns/Bill/latest/{bill}")
            if run["status"] in statuses:
                return run
        except NotFoundError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{bill} has no run of {statuses}")


def access():
    token = client.authentication.get_bearer_token(
        grant_type="client_credentials",
        extra_headers={
            "Authorization": "Basic "
            + base64.b64encode(f"{client.api_key}:{client.api_secret}".encode()).decode()
        },
    )
    assert token.expires_in == 18000 and token.token_type == "Bearer", token
    stranger = M3ter(api_secret="wrong", max_retries=0)
    refused(403, lambda: stranger.integration_configurations.list())
    other = M3ter(org_id="00000000-0000-0000-0000-000000000000", max_retries=0)
    assert isinstance(refused(403, lambda: other.integration_configurations.list()), PermissionDeniedError)


def credentials():
    own = raw("post", "integrationcredentials", {"type": "AWS_INTEGRATION", "destination": "AWS", "name": "own role"})
    role = raw(
        "post",
        "integrationcredentials",
        {"type": "AWS_INTEGRATION", "destination": "Aws", "accountId": "123456789012", "roleName": "OutbillMetering"},
    )
    assert role["version"] == 1 and role["externalId"] and "externalId" not in own, (role, own)
    path = f"integrationcredentials/{role['id']}"
    assert "externalId" not in raw("get", path)
    changed = raw(
        "put",
        path,
        {
            "type": "AWS_INTEGRATION",
            "name": "metering",
            "accountId": "123456789012",
            "roleName": "OutbillMetering2",
            "version": 1,
        },
    )
    assert (changed["version"], changed["name"]) == (2, "metering") and "externalId" not in changed, changed
    checked = raw("post", f"{path}/check")
    assert checked["good"] and [step["outcome"] for step in checked["steps"]] == ["GOOD", "GOOD"], checked
    listed = raw("get", "integrationcredentials?pageSize=1")
    assert listed["data"][0]["id"] == role["id"] and listed["nextToken"], listed
    assert raw("delete", path)["id"] == role["id"]
    refused(404, lambda: raw("get", path), role["id"])
    return own["id"]


def configurations(credential):
    api = client.integration_configurations
    settings = {"splitUsageLineItems": "ITEM_PER_PRODUCT", "accountFilter": "address.country == UK"}
    made = [
        api.create(destination="Aws", entity_type="Bill", name=f"number {number}", config_data=settings)
        for number in range(5)
    ]
    first = made[0]
    assert (first.version, first.enabled, first.authorized) == (1, True, False), first
    assert (first.destination, first.entity_type, first.name) == ("AWS", "Bill", "number 0"), first
    assert first.dt_created == first.dt_last_modified and first.created_by == client.api_key, first

    page = api.list(page_size=2)
    assert [found.name for found in page.data] == ["number 4", "number 3"] and page.next_token, page
    api.create(destination="AWS", entity_type="Bill", name="newer", config_data=settings)
    rest = page.get_next_page()
    assert [found.name for found in rest.data] == ["number 2", "number 1"], "a page that was begun stays stable"
    everything = [found.name for found in api.list(page_size=2)]
    assert everything == ["newer"] + [f"number {number}" for number in (4, 3, 2, 1, 0)], everything

    found = api.retrieve(first.id)
    assert (found.id, found.destination, found.entity_type) == (first.id, "AWS", "Bill"), found
    by_entity = api.get_by_entity("Bill", destination="aws")
    assert by_entity.id == everything_newest(api), by_entity
    refused(404, lambda: api.get_by_entity("Notification"), "Notification")
    refused(400, lambda: api.get_by_entity("Invoice"), "Bill, Notification")

    update = {"destination": "AWS", "entity_type": "Bill", "config_data": settings, "name": "renamed"}
    changed = api.update(first.id, version=1, integration_credentials_id=credential, **update)
    assert (changed.version, changed.authorized, changed.name) == (2, True, "renamed"), changed
    stale = refused(400, lambda: api.update(first.id, version=1, **update), "version: 1", "stored version is 2")
    assert isinstance(stale, BadRequestError)
    refused(400, lambda: api.update(first.id, **update), "version")
    refused(400, lambda: raw("delete", f"integrationcredentials/{credential}"), first.id)
    disconnected = api.update(first.id, version=2, **update)
    assert (disconnected.version, disconnected.authorized) == (3, False), disconnected
    assert api.enable(first.id).enabled is True
    refused(400, lambda: api.create(destination="Stripe", entity_type="Bill", config_data=settings), "supported: AWS")
    refused(
        400,
        lambda: api.create(destination="AWS", entity_type="Bill", config_data=settings, version=1),
        "version: leave it out",
    )
    for found in list(api.list()):
        assert api.delete(found.id).id == found.id
    refused(404, lambda: api.retrieve(first.id), first.id)
    assert api.list().data == []
    return api.create(
        destination="AWS",
        entity_type="Bill",
        name="bills",
        integration_credentials_id=credential,
        config_data={"splitUsageLineItems": "ITEM_PER_PRODUCT"},
    ).id


def everything_newest(api):
    return api.list(page_size=1).data[0].id


def mappings(configuration):
    api = client.external_mappings
    account = {"m3ter_entity": "Account", "external_system": "AWS", "external_table": "Customer"}
    made = api.create(m3ter_id="acme", external_id="111122223333", **account)
    assert (made.version, made.external_id) == (1, "111122223333"), made
    linked = api.create(
        m3ter_id="acme", external_id="444455556666", integration_config_id=configuration, **account
    )
    api.create(
        m3ter_entity="Product",
        m3ter_id="cloud",
        external_system="AWS",
        external_table="Dimension",
        external_id=f"{PRODUCT}-cloud",
    )
    refused(400, lambda: api.create(m3ter_id="acme", external_id="1" * 12, **account), made.id)
    assert [found.id for found in api.list_by_m3ter_entity("acme", entity="Account")] == [linked.id, made.id]
    assert [found.id for found in api.list_by_m3ter_entity("acme", entity="Account", page_size=1)] == [
        linked.id,
        made.id,
    ]
    found = api.list_by_external_entity("111122223333", system="aws", external_table="customer")
    assert [one.id for one in found] == [made.id], found
    assert len(api.list(page_size=2).data) == 2 and len(list(api.list(page_size=2))) == 3
    assert len(list(api.list(m3ter_ids=["acme", "cloud"]))) == 3, "arrays are joined with commas"
    assert [one.id for one in api.list(integration_config_id=configuration)] == [linked.id]
    assert len(list(api.list(external_system_id="AWS"))) == 3
    assert api.retrieve(made.id).external_id == "111122223333"
    changed = api.update(made.id, m3ter_id="acme", external_id="777788889999", version=1, **account)
    assert (changed.version, changed.external_id) == (2, "777788889999"), changed
    refused(
        400, lambda: api.update(made.id, m3ter_id="acme", external_id="1" * 12, version=1, **account), "version"
    )
    refused(400, lambda: client.integration_configurations.delete(configuration), linked.id)
    assert api.delete(linked.id).id == linked.id
    refused(404, lambda: api.retrieve(linked.id), linked.id)
    known = raw("get", "externalmappingconfiguration")
    assert "Account" in known["m3terEntities"] and known["externalSystems"][0]["name"] == "AWS", known
    assert raw("get", "externalmappingconfiguration/values/AWS/Account?externalTable=Customer") == []
    assert raw("get", f"externalmappingconfiguration/values/AWS/Account/{credential}") == []


def bills_runs_and_the_report():
    def bill(name, **more):
        line = {"lineItemType": "USAGE", "productId": "cloud", "currency": "USD", "convertedSubtotal": 101.03}
        return {
            "id": name,
            "accountId": "acme",
            "version": 1,
            "currency": "USD",
            "startDate": "2025-06-01",
            "lineItems": [line],
            **more,
        }

    queued = raw("post", "bills", bill("bill-1"))
    assert queued["messageId"], queued
    raw("post", "bills", {"bill": bill("bill-2", accountId="nobody")})
    run = settle("bill-1")
    assert (run["status"], run["destination"], run["entityType"]) == ("COMPLETE", "AWS", "Bill"), run
    failed = settle("bill-2")
    assert failed["status"] == "ERROR" and "nobody" in failed["error"], failed

    report = raw("get", "integrationdestinations/marketplace/usageReport?pageSize=50&billStartDate=2025-06-01")
    usage = {row["billId"]: row["reportedUsage"] for row in report["data"]}
    assert list(usage["bill-1"][f"{PRODUCT}-cloud"].values()) == [10103], report
    refused(
        400, lambda: raw("get", "integrationdestinations/marketplace/usageReport?pageSize=51"), "from 1 to 50"
    )
    assert raw("get", f"integrationruns/{run['id']}") == run
    assert raw("get", "integrationruns/Bill/bill-1?order=ASC&status=COMPLETE")["data"] == [run]
    several = raw("get", "integrationruns/Bill/latest?ids=bill-1%2Cbill-2")["data"]
    assert [found["entityId"] for found in several] == ["bill-1", "bill-2"], several
    of_destination = raw("get", f"integrationruns/destinations/{run['destinationId']}?destination=aws")["data"]
    assert len(of_destination) == 2, of_destination
    log = json.loads(base64.b64decode(raw("get", f"integrationruns/logs/{run['id']}")["Payload"]))
    assert log[0]["exchanges"][0]["status"] == 200, log
    assert raw("post", f"integrationruns/{run['id']}/replay")["id"] == run["id"]
    replayed = raw("post", f"integrationruns/{failed['id']}/replay", {"remap": False})
    assert replayed["id"] == failed["id"], replayed


def what_m3ter_does_not_have(configuration):
    line = {"lineItemType": "USAGE", "productId": "cloud", "currency": "USD", "convertedSubtotal": 120.25}
    bill = {"id": "bill-1", "accountId": "acme", "version": 2, "currency": "USD", "lineItems": [line]}
    previewed = raw("post", f"integrationconfigs/{configuration}/preview", bill)
    assert previewed["eligible"] and previewed["dimensions"][0]["delta"] == 1922, previewed
    explained = raw("get", "integrationdestinations/marketplace/explain?billId=bill-1")
    assert [key["units"] for key in explained["dimensions"]] == [10103], explained
    pending = "integrationdestinations/marketplace/pending"
    assert isinstance(raw("get", pending)["data"], list)
    refused(404, lambda: raw("post", f"{pending}/none/resolve", {"as": "ACCEPTED", "reason": "seen"}), "none")
    refused(404, lambda: raw("post", f"{pending}/none/unblock", {"reason": "mended"}), "none")
    thaw = f"integrationconfigs/{configuration}/thaw"
    refused(400, lambda: raw("post", thaw, {"reason": "nothing was sent since"}), "not frozen")
    assert raw("post", "externalmappings/import")["done"] is True
    assert raw("get", "reconciliations")["data"] == []
    refused(404, lambda: raw("get", "reconciliations/none"), "none")
    day = {"date": "2025-06-10", "integrationConfigId": configuration}
    refused(400, lambda: raw("post", "reconciliations", day), "awsMarketplaceCloudtrailChecks")
    key = control("/webhook")["key"]
    event = {"eventName": "billing.bill.updated", "m3terEvent": {"eventData": {"newDto": {"id": "bill-3"}}}}
    path = f"/organizations/{ORGANIZATION}/m3ter/events"
    by_header = client.post(path, cast_to=object, body=event, options={"headers": {"X-Outbill-Key": key}})
    assert by_header["messageId"], by_header
    assert raw("post", f"m3ter/events/{key}", event)["messageId"]
    refused(403, lambda: raw("post", "m3ter/events/guess", event))


def events():
    raised = list(client.events.list(page_size=1, event_type="IntegrationEvent"))
    assert raised and all(event.event_name.startswith("integration.") for event in raised), raised
    one = client.events.retrieve(raised[0].id)
    assert one.event_name == raised[0].event_name and one.m3ter_event, one
    assert client.events.list(ids=[raised[0].id]).data[0].id == raised[0].id
    missing = client.events.list(event_name="integration.missingaccountmapping.error").data
    assert missing and missing[0].m3ter_event["eventData"]["newDto"]["accountId"] == "nobody", missing
    assert client.events.list(account_id="acme").data == []
    assert "integration.disabled.error" in client.events.get_types().events
    fields = client.events.get_fields(event_name="integration.validation.error").events
    assert fields["integration.validation.error"]["new.error"] == "string", fields


def options():
    available = raw("get", "integrationconfigs/available?systemName=AWS&entityType=Bill")
    destination = available["supportedEntities"]["Bill"]["destinations"][0]
    assert destination["authType"] == "AWS_INTEGRATION", available
    assert raw("get", "integrationconfigs/available/systems")[0]["identifier"] == "AWS"
    assert raw("get", "integrationconfigs/available/AWS/entities")[0]["identifier"] == "Bill"
    assert raw("get", "integrationconfigs/available/aws/auth/Bill")[0]["name"] == "accountId"
    assert raw("get", "integrationconfigs/values/AWS/splitUsageLineItems")[0]["id"] == "ITEM_PER_BILL"
    refused(400, lambda: raw("get", "integrationconfigs/available/OnPaper/entities"), "STRIPE")
    refused(404, lambda: raw("get", "integrationconfigs/available/STRIPE/entities"), "supported: AWS")


access()
credential = credentials()
configuration = configurations(credential)
mappings(configuration)
options()
bills_runs_and_the_report()
what_m3ter_does_not_have(configuration)
events()
described = client.get("/openapi.json", cast_to=object)["paths"]
called = set()
for method, path in requests:
    fits = [
        template
        for template in described
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)), path) and method.lower() in described[template]
    ]
    # Of two templates that fit, the one with fewer placeholders is meant.
    called.update((method, template) for template in sorted(fits, key=lambda fit: fit.count("{"))[:1])
every = {(method.upper(), path) for path, calls in described.items() for method in calls}
for method, path in sorted(every - called):
    print(f"not called: {method} {path}")
print(f"requests: {len(requests)}")
print(f"operations called: {len(called)} of {len(every)}")
