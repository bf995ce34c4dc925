"""What needs somebody: the findings of an estate, as far as one user sees it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Exists, OuterRef, Q, QuerySet
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import timezone

from access import gate
from access.actions import Action
from access.gate import Actor, System
from audit import health
from hypervisor.types import PowerState
from inventory.models import NIC, VM, Cluster, Definition, Host, SeenChange, Segment, Snapshot
from jobs.models import BrokenGlass, Job, Look
from jobs.states import State

#: For how long a job that failed is news.
RECENT = timedelta(hours=24)

HAS_BASELINE = Exists(Snapshot.objects.filter(vm=OuterRef("pk"), is_baseline=True, missing_since=None))
HAS_FOREIGN_NIC = Exists(NIC.objects.filter(vm=OuterRef("pk"), foreign_segment__isnull=False))
#: A snapshot grows with what its VM writes; after three days somebody should say how long it is to stay.
OLD_AFTER = timedelta(hours=72)
_ENDLESS = Snapshot.objects.filter(vm=OuterRef("pk"), is_baseline=False, expires_at=None, missing_since=None)
#: What can be the matter with a VM, as conditions on its row, by the names under which filters and counts know them.
VM_FINDINGS = {
    "has_baseline": HAS_BASELINE,
    "has_foreign_nic": HAS_FOREIGN_NIC,
    "has_old_snapshot": Exists(_ENDLESS.filter(created_at__lt=Now() - OLD_AFTER)),
    "has_outside_change": Exists(SeenChange.objects.alarming().filter(vm=OuterRef("pk"))),
    "has_other_definition": Exists(Definition.objects.filter(vm=OuterRef("pk"), differs=True)),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that needs somebody: how bad, in a sentence, and where to see it."""

    tone: str  # "bad", "warn"
    text: str
    url: str
    about: str = ""


def findings(user: Actor, counts: dict[str, int]) -> list[Finding]:
    """Everything that needs somebody; `counts` are those of `vm_counts`."""
    return [
        *_record_findings(user),
        *_host_findings(user),
        *_cluster_findings(user),
        *_approval_findings(user),
        *_vm_findings(counts),
        *_job_findings(user),
    ]


def _record_findings(user: Actor) -> list[Finding]:
    """What endangers the record, for who may read it."""
    if not gate.can(user, Action.READ_AUDIT):
        return []
    found = []
    lag = health.sealing_lag()
    if lag > health.LATE_SECONDS:
        text = f"The record has not been sealed for {lag:.0f} s; see whether the sealer runs."
        found.append(Finding("bad", text, reverse("admin:index")))
    unsent = health.anchors_unsent_since()
    if unsent is not None:
        where, since = settings.SLIPWAY_AUDIT_SYSLOG, f"{unsent:%Y-%m-%d %H:%M} UTC"
        text = f"The record's anchors have not reached syslog at {where} since {since}; the sealer's log says why."
        found.append(Finding("bad", text, reverse("admin:index")))
    if health.room_is_short(settings.DATA_DIR):
        text = "The disk that holds the record is nearly full; without room for its event nothing is done."
        found.append(Finding("bad", text, reverse("admin:index")))
    return found


def _host_findings(user: Actor) -> list[Finding]:
    """What its connection said is for who operates it: addresses are in it."""
    silent = list(Host.objects.visible_to(user).filter(connection=Host.Connection.UNREACHABLE))
    operated = set(Host.objects.visible_to(user, Action.OPERATE_HOST).filter(pk__in=[host.pk for host in silent]))
    return [
        Finding(
            "bad", f"Host {host} does not answer.", reverse("host-detail", args=[host.pk]),
            host.connection_error if host in operated else "",
        )
        for host in silent
    ]  # fmt: skip


def _cluster_findings(user: Actor) -> list[Finding]:
    """Clusters in which something would be moved; those that are balanced by themselves see to it."""
    clusters: Any = Cluster.objects.visible_to(user).filter(balancing=Cluster.Balancing.ADVISE)
    looks = Look.objects.filter(cluster__in=clusters, planned__gt=0).select_related("cluster")
    return [
        Finding(
            "warn",
            f"Cluster {look.cluster} is used unevenly; {look.planned} move{'' if look.planned == 1 else 's'} advised.",
            reverse("cluster-detail", args=[look.cluster_id]),
            look.verdict,
        )
        for look in looks.order_by("cluster__name")
    ]


def vm_counts(user: Actor) -> dict[str, int]:
    """The user's VMs: how many, in which states, and with which findings; by one SQL statement."""
    seen = Q(missing_since__isnull=True)
    counted: dict[str, int] = (
        VM.objects.visible_to(user)
        .annotate(**VM_FINDINGS)
        .aggregate(
            total=Count("pk"),
            running=Count("pk", filter=Q(power_state=PowerState.RUNNING.value)),
            off=Count("pk", filter=Q(power_state=PowerState.SHUT_OFF.value)),
            missing=Count("pk", filter=~seen),
            split=Count("pk", filter=Q(is_split=True) | Q(split_at__isnull=False)),
            foreign_nic=Count("pk", filter=Q(has_foreign_nic=True)),
            no_baseline=Count("pk", filter=Q(has_baseline=False) & seen),
            old_snapshot=Count("pk", filter=Q(has_old_snapshot=True)),
            changed_outside=Count("pk", filter=Q(has_outside_change=True)),
            not_as_approved=Count("pk", filter=Q(has_other_definition=True)),
        )
    )
    return counted


def _vm_findings(counts: dict[str, int]) -> list[Finding]:
    said = [
        ("split", "bad", "is or was run by two hosts at once", "are or were run by two hosts at once"),
        ("changed_outside", "bad", "was changed outside the portal", "were changed outside the portal"),
        (
            "not_as_approved",
            "bad",
            "has another definition than the approved one",
            "have other definitions than approved",
        ),
        ("foreign_nic", "bad", "is on a network of another segment", "are on networks of other segments"),
        ("missing", "warn", "is not seen on any host", "are not seen on any host"),
        ("no_baseline", "warn", "has no baseline to fall back to", "have no baseline to fall back to"),
        (
            "old_snapshot",
            "warn",
            "has a snapshot older than three days, with no end set",
            "have snapshots older than three days, with no end set",
        ),
    ]
    return [
        Finding(tone, _sentence(counts[name], one, many), f"{reverse('vm-list')}?finding={name}")
        for name, tone, one, many in said
        if counts[name]
    ]


def _approval_findings(user: Actor) -> list[Finding]:
    """What waits for a decision that is this user's to make, and what went ahead without one."""
    found = []
    broken = BrokenGlass.objects.visible_to(user).filter(acknowledged_at=None).count()
    if broken:
        said = "went ahead without the approval needed, and no auditor has looked at it yet."
        found.append(Finding("bad", _jobs(broken, said, said), reverse("approvals")))
    own = {} if isinstance(user, System) else {"requested_by": user}
    waiting = Job.objects.visible_to(user, Action.APPROVE).filter(state=State.AWAITING_APPROVAL).exclude(**own).count()
    if waiting:
        said = _jobs(waiting, "waits for your approval.", "wait for your approval.")
        found.append(Finding("warn", said, reverse("approvals")))
    return found


def _job_findings(user: Actor) -> list[Finding]:
    failed = Job.objects.visible_to(user).filter(
        state__in=[State.FAILED, State.ERRORED], finished_at__gte=timezone.now() - RECENT
    )
    count = failed.count()
    if not count:
        return []
    text = _jobs(count, "failed in the last 24 hours.", "failed in the last 24 hours.")
    return [Finding("warn", text, f"{reverse('job-list')}?state=ended_badly")]


def _jobs(count: int, one: str, many: str) -> str:
    return f"1 job {one}" if count == 1 else f"{count} jobs {many}"


def _sentence(count: int, one: str, many: str) -> str:
    return f"{count} VM {one}." if count == 1 else f"{count} VMs {many}."


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """A segment, and how the user's VMs in it stand."""

    segment: Segment
    vms: int = 0
    running: int = 0
    with_baseline: int = 0
    foreign_nic: int = 0


def segment_rows(user: Actor, *, only: QuerySet[Segment] | None = None) -> list[SegmentRow]:
    """The user's segments (or some) with the numbers of the VMs that the user sees there; by two SQL statements."""
    segments = Segment.objects.visible_to(user) if only is None else only
    counted = (
        VM.objects.visible_to(user)
        .filter(segment__isnull=False)
        .annotate(has_baseline=HAS_BASELINE, has_foreign_nic=HAS_FOREIGN_NIC)
        .order_by()
        .values("segment_id")
        .annotate(
            vms=Count("pk"),
            running=Count("pk", filter=Q(power_state=PowerState.RUNNING.value)),
            with_baseline=Count("pk", filter=Q(has_baseline=True)),
            foreign_nic=Count("pk", filter=Q(has_foreign_nic=True)),
        )
    )
    numbers: dict[int, dict[str, Any]] = {row.pop("segment_id"): row for row in counted}
    return [SegmentRow(segment, **numbers.get(segment.pk, {})) for segment in segments.order_by("name")]
