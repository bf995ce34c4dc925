"""Placement rules: the one decision, and setting and lifting them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from access.errors import NotAllowed, NotVisible
from access.gate import SYSTEM
from audit.events import EventAction
from audit.models import AuditEvent
from inventory.errors import InvalidInventoryRequest, InventoryConflict
from inventory.models import Cluster, Host, PlacementRule
from inventory.placement import Guest, Kind, Rule, objection, rules_of, sentence
from inventory.services.hosts import cluster_change, host_delete
from inventory.services.placement import (
    host_set_reserved,
    placement_rule_create,
    placement_rule_delete,
)
from tests import factories as make

A, B, C = Guest(1, 10), Guest(2, 20), Guest(3, None)
APART = Rule(1, "apart", Kind.APART, vms=frozenset({1, 2}))
TOGETHER = Rule(2, "together", Kind.TOGETHER, vms=frozenset({1, 2}))
ONLY = Rule(3, "only", Kind.ONLY_ON, segment=10, hosts=frozenset({7, 8}))
NEVER = Rule(4, "never", Kind.NEVER_BESIDE, segment=10, other=20)


@pytest.mark.parametrize(
    ("guest", "host", "neighbours", "rule", "speaks"),
    [
        (A, 9, [B], APART, True),
        (A, 9, [A, C], APART, False),
        (C, 9, [A, B], APART, False),
        (A, 7, [], ONLY, False),
        (A, 9, [], ONLY, True),
        (B, 9, [], ONLY, False),
        (C, 9, [], ONLY, False),
        (A, 9, [B], NEVER, True),
        (B, 9, [A], NEVER, True),
        (A, 9, [Guest(5, 10), C], NEVER, False),
        (C, 9, [A, B], NEVER, False),
    ],
)
def test_what_each_kind_of_rule_says(guest, host, neighbours, rule, speaks):
    assert (objection(guest, host, neighbours, [rule]) is rule) is speaks


@pytest.mark.parametrize(
    ("host", "neighbours", "settled", "speaks"),
    [
        (9, [], {}, False),  # its fellow stays nowhere
        (9, [], {2: 8}, True),
        (8, [], {2: 8}, False),
        (9, [B], {2: 9}, False),
        (9, [B], {2: 8}, False),  # on its way here, and settled there by an older word
    ],
)
def test_a_vm_keeps_to_where_its_fellows_stay(host, neighbours, settled, speaks):
    assert (objection(A, host, neighbours, [TOGETHER], settled) is not None) is speaks


GUESTS = st.builds(Guest, st.integers(1, 6), st.sampled_from([None, 10, 20, 30]))
SETS = st.frozensets(st.integers(1, 6), min_size=1)
SOME_RULES = st.lists(
    st.one_of(
        st.builds(Rule, st.just(1), st.just("a"), st.just(Kind.APART), vms=SETS),
        st.builds(Rule, st.just(2), st.just("t"), st.just(Kind.TOGETHER), vms=SETS),
        st.builds(Rule, st.just(3), st.just("o"), st.just(Kind.ONLY_ON), segment=st.just(10), hosts=SETS),
        st.builds(Rule, st.just(4), st.just("n"), st.just(Kind.NEVER_BESIDE), segment=st.just(10), other=st.just(20)),
    ),
    max_size=4,
)


@given(GUESTS, GUESTS, st.integers(1, 6), SOME_RULES)
def test_rivals_are_rivals_both_ways_and_nobody_is_his_own(one, other, host, rules):
    rivalry = [rule for rule in rules if rule.kind in (Kind.APART, Kind.NEVER_BESIDE)]
    if one.key != other.key:
        assert objection(one, host, [other], rivalry) == objection(other, host, [one], rivalry)
    assert objection(one, host, [one], rivalry) is None


@given(GUESTS, st.lists(GUESTS, max_size=4), st.integers(1, 6), SOME_RULES)
def test_a_rule_that_is_not_about_a_vm_says_nothing_against_it(guest, neighbours, host, rules):
    found = objection(guest, host, neighbours, rules, {other.key: 1 for other in neighbours})
    assert found is None or found.is_about(guest)


def test_the_sentence_names_the_rule_and_no_other_vm():
    for rule in (APART, TOGETHER, ONLY, NEVER):
        said = sentence(rule, "mine", "host-1")
        assert f"“{rule.name}”" in said
        assert "mine" in said
        assert "host-1" in said


@pytest.fixture
def cluster(db) -> Cluster:
    return make.cluster()


def test_a_rule_is_set_recorded_read_and_lifted(cluster):
    operator = make.user_with("platform-operator")
    host = make.host(cluster=cluster)
    one, other = make.vm(host=host), make.vm(host=host)
    rule = placement_rule_create(actor=operator, cluster=cluster, name=" pair ", kind="apart", vms=[one, other])
    assert rules_of(cluster.pk) == (Rule(rule.pk, "pair", "apart", vms=frozenset({one.pk, other.pk})),)
    placement_rule_delete(actor=operator, rule=rule, reason="no longer")
    assert rules_of(cluster.pk) == ()
    events = AuditEvent.objects.filter(object_type="cluster", object_id=str(cluster.pk)).order_by("pk")
    assert [event.action for event in events] == [
        EventAction.PLACEMENT_RULE_CREATED,
        EventAction.PLACEMENT_RULE_DELETED,
    ]
    assert events[0].after["vms"] == [{"id": one.pk, "name": one.name}, {"id": other.pk, "name": other.name}]
    assert events[1].before == events[0].after


@pytest.mark.parametrize(
    ("kind", "parts", "field"),
    [
        ("apart", {"vms": 1}, "vms"),
        ("together", {}, "vms"),
        ("apart", {"vms": 2, "segment": True}, "segment"),
        ("apart", {"vms": 2, "hosts": True}, "hosts"),
        ("only_on", {"segment": True}, "hosts"),
        ("only_on", {"hosts": True}, "segment"),
        ("only_on", {"hosts": True, "segment": True, "other": True}, "other_segment"),
        ("never_beside", {"segment": True}, "other_segment"),
        ("never_beside", {"segment": True, "other": True, "vms": 2}, "vms"),
        ("odd", {}, "kind"),
    ],
)
def test_each_kind_takes_its_own_parts_only(cluster, kind, parts, field):
    host = make.host(cluster=cluster)
    with pytest.raises(InvalidInventoryRequest) as refused:
        placement_rule_create(
            actor=SYSTEM,
            cluster=cluster,
            name="rule",
            kind=kind,
            vms=[make.vm(host=host) for _ in range(parts.get("vms", 0))],
            segment=make.segment() if parts.get("segment") else None,
            other_segment=make.segment() if parts.get("other") else None,
            hosts=[host] if parts.get("hosts") else [],
        )
    assert refused.value.field == field
    assert not PlacementRule.objects.exists()


def test_a_segment_is_not_beside_itself_and_names_are_used_once(cluster):
    segment = make.segment()
    with pytest.raises(InvalidInventoryRequest, match="different"):
        placement_rule_create(
            actor=SYSTEM, cluster=cluster, name="r", kind="never_beside", segment=segment, other_segment=segment
        )
    two = [make.segment(), make.segment()]
    never = {"kind": "never_beside", "segment": two[0], "other_segment": two[1]}
    placement_rule_create(actor=SYSTEM, cluster=cluster, name="r", **never)
    with pytest.raises(InvalidInventoryRequest, match="already"):
        placement_rule_create(actor=SYSTEM, cluster=cluster, name="r", **never)
    placement_rule_create(actor=SYSTEM, cluster=make.cluster(), name="r", **never)


def test_a_rule_names_what_is_in_the_cluster_and_what_its_author_sees(cluster):
    here, elsewhere = make.host(cluster=cluster), make.host()
    ours, theirs = make.vm(host=here), make.vm(host=elsewhere)
    with pytest.raises(InvalidInventoryRequest, match="not in the cluster"):
        placement_rule_create(actor=SYSTEM, cluster=cluster, name="r", kind="apart", vms=[ours, theirs])
    with pytest.raises(InvalidInventoryRequest, match="not in the cluster"):
        placement_rule_create(
            actor=SYSTEM, cluster=cluster, name="r", kind="only_on", segment=make.segment(), hosts=[elsewhere]
        )
    blind = make.user_with(make.role_of("operate_host"), cluster)
    with pytest.raises(NotVisible):
        placement_rule_create(actor=blind, cluster=cluster, name="r", kind="apart", vms=[ours, make.vm(host=here)])
    onlooker = make.user_with("viewer", cluster)
    with pytest.raises(NotAllowed):
        placement_rule_create(actor=onlooker, cluster=cluster, name="r", kind="apart", vms=[])


def test_the_only_host_of_a_rule_is_not_removed(cluster):
    host, other = make.host(cluster=cluster), make.host(cluster=cluster)
    rule = placement_rule_create(
        actor=SYSTEM, cluster=cluster, name="r", kind="only_on", segment=make.segment(), hosts=[host, other]
    )
    host_delete(actor=SYSTEM, host=other)
    with pytest.raises(InventoryConflict, match="only host"):
        host_delete(actor=SYSTEM, host=host)
    placement_rule_delete(actor=SYSTEM, rule=rule)
    host_delete(actor=SYSTEM, host=host)
    assert not Host.objects.exists()


def test_balancing_and_what_a_host_keeps_are_recorded_changes(cluster):
    operator = make.user_with(make.role_of("operate_host"), cluster)
    host = make.host(cluster=cluster)
    cluster_change(actor=operator, cluster=cluster, balancing="advise")
    cluster_change(actor=operator, cluster=cluster, balancing="advise")
    host_set_reserved(actor=operator, host=host, mib=2048)
    host_set_reserved(actor=operator, host=host, mib=2048)
    host.refresh_from_db()
    cluster.refresh_from_db()
    assert (cluster.balancing, host.reserved_mib) == ("advise", 2048)
    told = [(event.action, event.before, event.after) for event in AuditEvent.objects.filter(actor_id=operator.pk)]
    assert sorted(told) == [
        (EventAction.CLUSTER_CHANGED, {"balancing": "off"}, {"balancing": "advise"}),
        (EventAction.HOST_CHANGED, {"reserved_mib": 0}, {"reserved_mib": 2048}),
    ]
    with pytest.raises(InvalidInventoryRequest):
        cluster_change(actor=operator, cluster=cluster, balancing="wild")
    with pytest.raises(InvalidInventoryRequest):
        host_set_reserved(actor=operator, host=host, mib=host.memory_mib + 1)
    with pytest.raises(NotAllowed):
        host_set_reserved(actor=make.user_with("viewer", host), host=host, mib=1)
