"""An estate of two teams, and callers with tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from access.models import User
from inventory.models import VM, Cluster, Host, Segment
from tests import factories as make


class Caller:
    """Calls the API as a user, with a token; or as nobody."""

    def __init__(self, user: User | None = None, *, token: str = "") -> None:
        token = token or (make.token(user) if user else "")
        self.user = user
        self.client = Client(headers={"Authorization": f"Token {token}"} if token else {})

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1/{path}", query)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """A body as JSON, or none at all."""
        return self.send("POST", path, "" if body is None else json.dumps(body), **headers)

    def patch(self, path: str, body: Any) -> Any:
        return self.send("PATCH", path, json.dumps(body))

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/api/v1/{path}")

    def send(self, method: str, path: str, body: str | bytes, *, kind: str = "application/json", **headers: str) -> Any:
        """Any body, as it is; `idempotency_key="k"` becomes the header Idempotency-Key."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.generic(method, f"/api/v1/{path}", body, content_type=kind, headers=given)

    def submit(self, vm: VM, operation: str = "snapshot.create", **params: Any) -> Any:
        """Ask for work on a VM."""
        return self.post("jobs/", {"operation": operation, "target": {"vm": vm.pk}, "params": params})


@dataclass
class Estate:
    """Two segments on one cluster of two hosts: the web team's, and another's that it knows nothing of."""

    cluster: Cluster
    north: Host
    south: Host
    web: Segment
    db: Segment
    vm: VM
    foreign: VM


@pytest.fixture
def estate(db: None) -> Estate:
    cluster = make.cluster("main")
    north = make.host("north", cluster=cluster)
    south = make.host("south", cluster=cluster)
    web, database = make.segment("web", networks=["web-net"]), make.segment("db")
    return Estate(
        cluster=cluster,
        north=north,
        south=south,
        web=web,
        db=database,
        vm=make.vm("web-1", segment=web, host=north),
        foreign=make.vm("db-1", segment=database, host=south),
    )


@pytest.fixture
def call() -> Callable[..., Caller]:
    """Makes callers: `call(user)`, `call()` for nobody."""
    return Caller


@pytest.fixture
def maintainer(estate: Estate) -> Caller:
    """Maintains the web segment and may place VMs in the cluster."""
    user = make.user_with("maintainer", estate.web, username="mara")
    make.grant(user, "placement", estate.cluster)
    return Caller(user)


@pytest.fixture
def viewer(estate: Estate) -> Caller:
    """Sees the web segment, and no host."""
    return Caller(make.user_with("viewer", estate.web, username="vic"))


@pytest.fixture
def admin(db: None) -> Caller:
    """Holds every action on everything."""
    return Caller(make.user_with("administrator", username="ada"))


def problem(answer: Any, status: int, code: str, field: str | None = None) -> dict[str, Any]:
    """Check that an answer is that problem, as RFC 9457 has it, and return it."""
    found = answer.json()
    assert (answer.status_code, found["status"], found["code"]) == (status, status, code), found
    assert answer["Content-Type"] == "application/problem+json"
    assert found["type"] == "about:blank"
    assert found["title"]
    assert found["detail"]
    assert found["instance"] == answer.request["PATH_INFO"]
    assert found["request_id"] == answer["X-Request-ID"]
    if field is not None:
        assert field in [error["field"] for error in found["errors"]], found
    return found
