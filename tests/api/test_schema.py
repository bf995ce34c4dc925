"""The API's description, and that every address has one and declares what it needs."""

from __future__ import annotations

import io
import json
import re

import pytest
from django.core.management import call_command
from django.urls import get_resolver
from jsonschema import Draft202012Validator

from portal.declared import SIGNED_IN, declaration_of
from tests import factories as make
from tests.api.conftest import problem

pytestmark = pytest.mark.django_db


@pytest.fixture
def schema(call):
    return call(make.user()).get("schema/").json()


def resolve(schema, node):
    """Follow references, and write OpenAPI 3.0's `nullable` as JSON Schema does."""
    if isinstance(node, list):
        return [resolve(schema, item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return resolve(schema, schema["components"]["schemas"][node["$ref"].rsplit("/", 1)[1]])
    plain = {name: resolve(schema, value) for name, value in node.items() if name != "nullable"}
    return {"anyOf": [plain, {"type": "null"}]} if node.get("nullable") else plain


def test_it_is_valid_and_without_warnings():
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=io.StringIO())


def test_nobody_reads_it_unless_signed_in(call, schema):
    problem(call().get("schema/"), 401, "not_authenticated")
    assert schema["openapi"].startswith("3.")


def test_every_operation_describes_its_problems(schema):
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            assert {"401", "403"} <= set(responses), (path, method)
            for status, response in responses.items():
                if int(status) >= 400:
                    content = response["content"]["application/problem+json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            if "{" in path or method == "post":
                assert "404" in responses, (path, method)
    assert {"201", "202", "400", "404", "409", "415", "422"} <= set(
        schema["paths"]["/api/v1/jobs/"]["post"]["responses"]
    )


def test_every_enumeration_has_a_name_of_ours(schema):
    names = {name for name, node in schema["components"]["schemas"].items() if "enum" in node}
    assert names == {
        "AccessRequestVerdict", "Action", "ActorKind", "Alarm", "ApprovalVerdict", "BaselinePolicy", "BlankEnum",
        "ClusterBalancing",
        "ControlOutcome", "ControlVerb", "Effect", "EventAction", "Fate", "FindingCode", "HostAvailability",
        "HostConnection", "JobState", "MigrationPolicy", "Operation", "Outcome", "PlacementRuleKind", "PowerState",
        "SeenChangeKind", "SignIn", "StepState", "Via",
    }  # fmt: skip


def test_answers_are_as_described(estate, admin, schema):
    make.snapshot(estate.vm, baseline=True, created_by=admin.user)
    make.nic(estate.vm, "db-net", foreign_segment=estate.db)
    team = make.team(members=[admin.user])
    job = admin.submit(estate.vm).json()
    make.placement_rule(estate.cluster, estate.vm, make.vm(host=estate.north))
    pages = {
        "/api/v1/vms/": "vms/", "/api/v1/vms/{id}/": f"vms/{estate.vm.pk}/",
        "/api/v1/vms/{vm}/snapshots/": f"vms/{estate.vm.pk}/snapshots/", "/api/v1/hosts/": "hosts/",
        "/api/v1/clusters/": "clusters/", "/api/v1/segments/": "segments/", "/api/v1/teams/": "teams/",
        "/api/v1/teams/{team}/members/": f"teams/{team.pk}/members/", "/api/v1/roles/": "roles/",
        "/api/v1/grants/": "grants/", "/api/v1/users/": "users/", "/api/v1/jobs/": "jobs/",
        "/api/v1/jobs/{id}/": f"jobs/{job['id']}/", "/api/v1/audit-events/": "audit-events/", "/api/v1/me/": "me/",
        "/api/v1/": "", "/api/v1/placement-rules/": "placement-rules/",
        "/api/v1/clusters/{id}/rebalance-plan/": f"clusters/{estate.cluster.pk}/rebalance-plan/",
    }  # fmt: skip
    for path, address in pages.items():
        described = schema["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        answer = admin.get(address)
        assert answer.status_code == 200, address
        Draft202012Validator(resolve(schema, described)).validate(answer.json())
        if "results" in answer.json():
            assert answer.json()["results"], address
    refused = problem(admin.get("vms/987654/"), 404, "not_found")
    Draft202012Validator(resolve(schema, {"$ref": "#/components/schemas/Problem"})).validate(refused)


def test_the_root_names_addresses_that_answer(admin):
    for name, address in admin.get("").json().items():
        assert admin.client.get(address).status_code == 200, name


def test_the_page_for_people_is_for_who_is_signed_in(client):
    assert client.get("/api/v1/docs/")["Location"] == "/sign-in/?next=/api/v1/docs/"
    client.force_login(make.user())
    answer = client.get("/api/v1/docs/")
    policy = answer["Content-Security-Policy"]
    (nonce,) = re.findall(r'<script nonce="([^"]+)">', answer.content.decode())
    assert f"'nonce-{nonce}'" in policy
    assert "unsafe" not in policy


def test_every_address_declares_what_it_needs(schema):
    api = next(entry for entry in get_resolver().url_patterns if str(entry.pattern) == "api/v1/")
    assert len(api.url_patterns) > 20
    for entry in api.url_patterns:
        assert declaration_of(entry.callback) is not None, entry
    described = {path.removeprefix("/api/v1/") for path in schema["paths"]}
    known = {
        str(entry.pattern).replace("int:", "").replace("slug:", "").replace("uuid:", "") for entry in api.url_patterns
    }
    known = {path.replace("<", "{").replace(">", "}").replace("{pk}", "{id}") for path in known}
    assert known - described == {"schema/", "docs/", ".*"}
    assert described - known == set()
    nowhere = api.url_patterns[-1]
    assert declaration_of(nowhere.callback) is SIGNED_IN


def test_the_committed_description_of_the_problem_is_small(schema):
    problem_schema = schema["components"]["schemas"]["Problem"]
    assert set(problem_schema["required"]) == {"type", "title", "status", "code", "detail", "instance", "request_id"}
    assert len(json.dumps(schema)) < 200_000
