"""What the API says that one may do, and where, is what one holds there; a filter tells of nothing hidden."""

from __future__ import annotations

import pytest

from tests import factories as make


@pytest.mark.parametrize("noun", ["vms", "segments", "hosts", "clusters"])
def test_what_may_be_done_is_what_is_held(noun, estate, call):
    on = {"vms": estate.vm, "segments": estate.web, "hosts": estate.north, "clusters": estate.cluster}[noun]
    person = call(make.user_with(make.role_of("edit"), on))
    assert person.get(f"{noun}/{on.pk}/").json()["allowed_actions"] == ["edit", "view"]
    assert [row["allowed_actions"] for row in person.get(f"{noun}/").json()["results"]] == [["edit", "view"]]


def test_an_address_is_for_who_operates_the_host(estate, call):
    host = f"hosts/{estate.north.pk}/"
    shown = call(make.user_with("placement", estate.north)).get(host).json()
    assert (shown["uri"], shown["connection_error"]) == (None, None)
    assert call(make.user_with(make.role_of("operate_host"), estate.north)).get(host).json()["uri"] == "sim://north/"


@pytest.mark.parametrize("by", ["id", "name"])
def test_hosts_are_not_found_by_a_cluster_that_is_hidden(by, estate, call):
    person = call(make.user_with("viewer", estate.north))
    assert person.get("hosts/").json()["count"] == 1
    wanted = estate.cluster.pk if by == "id" else estate.cluster.name
    assert person.get("hosts/", cluster=wanted).json()["count"] == 0
    assert person.get(f"hosts/{estate.north.pk}/").json()["cluster"] is None
    operator = call(make.user_with("platform-operator"))
    assert operator.get("hosts/", cluster=wanted).json()["count"] == 2


@pytest.mark.parametrize("by", ["id", "name"])
def test_vms_are_not_found_by_a_host_or_segment_that_is_hidden(by, estate, call):
    person = call(make.user_with("viewer", estate.vm))
    for noun, hidden in (("host", estate.north), ("segment", estate.web)):
        assert person.get("vms/", **{noun: hidden.pk if by == "id" else hidden.name}).json()["count"] == 0
    shown = person.get(f"vms/{estate.vm.pk}/").json()
    assert (shown["host"], shown["segment"]) == (None, None)
