"""Tags and filters of the pages: icons, badges, ages, sizes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from access.models import Grant
from access.models.grants import SCOPES
from hypervisor.types import PowerState
from inventory.models import VM, Host
from jobs.models import Job
from jobs.roster import Fate
from jobs.states import State
from portal.pages import wording

register = template.Library()

#: A host is read every ten seconds; what is older than this was missed several times over.
STALE_AFTER_SECONDS = 60

_POWER_TONES = {
    PowerState.RUNNING: "good",
    PowerState.PAUSED: "warn",
    PowerState.SHUT_OFF: "idle",
    PowerState.CRASHED: "bad",
    PowerState.SUSPENDED: "warn",
    PowerState.UNKNOWN: "warn",
}
_JOB_TONES = {
    State.AWAITING_APPROVAL: "warn",
    State.SCHEDULED: "idle",
    State.QUEUED: "idle",
    State.RUNNING: "work",
    State.WAITING: "work",
    State.CANCELLING: "work",
    State.LOST: "warn",
    State.SUCCEEDED: "good",
    State.FAILED: "bad",
    State.ERRORED: "bad",
    State.CANCELLED: "idle",
}
_FATES = {
    Fate.WAITS: ("idle", "Waits"),
    Fate.UNDER_WAY: ("work", "Under way"),
    Fate.DONE: ("good", "Done"),
    Fate.LEFT: ("warn", "Stays"),
}
_HOST_TONES = {Host.Connection.ONLINE: "good", Host.Connection.UNREACHABLE: "bad", Host.Connection.UNKNOWN: "warn"}


def _badge(tone: str, text: str) -> SafeString:
    return format_html('<span class="badge-state badge-{}">{}</span>', tone, text)


@register.simple_tag
def icon(name: str, classes: str = "") -> SafeString:
    """An icon of the sprite; decoration only, the words stand beside it."""
    return format_html(
        '<svg class="icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        classes,
        static("icons.svg"),
        name,
    )


@register.simple_tag
def power_badge(vm: VM) -> SafeString:
    """What the VM does, as last seen; or that it is not seen, or seen twice."""
    if vm.is_split:
        return _badge("bad", "Runs on two hosts")
    if vm.missing_since is not None:
        return _badge("warn", "Not seen")
    return _badge(_POWER_TONES[PowerState(vm.power_state)], vm.get_power_state_display().capitalize())


@register.simple_tag
def job_badge(job: Job) -> SafeString:
    """Where the job stands."""
    return _badge(_JOB_TONES[State(job.state)], job.get_state_display())


@register.simple_tag
def fate_badge(fate: Fate) -> SafeString:
    """Where a VM stands in work on its host."""
    return _badge(*_FATES[fate])


@register.simple_tag
def host_badge(host: Host) -> SafeString:
    """Whether the host answers; what it is available for, when it does and that is not everything."""
    if host.is_online and host.availability != Host.Availability.ACTIVE:
        return _badge("warn", host.get_availability_display())
    return _badge(_HOST_TONES[Host.Connection(host.connection)], host.get_connection_display())


@register.simple_tag
def age(when: datetime | None, suffix: str = " ago", stale: bool = False) -> SafeString | str:
    """How long ago, counted on by the page's script; amber once `stale` says that age matters and it is too old."""
    if when is None:
        return "never"
    seconds = (timezone.now() - when).total_seconds()
    return format_html(
        '<time datetime="{}" title="{}" data-age="{}" data-stale-after="{}" class="nowrap{}">{}{}</time>',
        when.isoformat(),
        wording.moment(when),
        suffix,
        STALE_AFTER_SECONDS if stale else 0,
        " stale" if stale and seconds > STALE_AFTER_SECONDS else "",
        wording.age_words(seconds),
        suffix,
    )


@register.simple_tag
def moment(when: datetime | None) -> SafeString | str:
    """A moment in full, to the second, in UTC."""
    if when is None:
        return "—"
    return format_html('<time datetime="{}" class="nowrap">{}</time>', when.isoformat(), wording.moment(when))


@register.filter
def mib(value: int) -> str:
    """Mebibytes in the unit that reads best."""
    return wording.size_words(value * 2**20)


@register.filter
def size(value: int) -> str:
    """Bytes in the unit that reads best."""
    return wording.size_words(value)


@register.filter
def took(job: Job) -> float | None:
    """Seconds from a job's beginning to its end; None before that, and for one that never began."""
    if job.finished_at is None or job.started_at is None:
        return None
    return (job.finished_at - job.started_at).total_seconds()


@register.filter
def duration(seconds: float | None) -> str:
    """A length of time."""
    return "—" if seconds is None else wording.length_words(seconds)


@register.filter
def milliseconds(value: float | None) -> str:
    """A length of time given in milliseconds."""
    return "—" if value is None else wording.length_words(value / 1000)


@register.filter
def operation(name: str) -> str:
    """An operation in words."""
    return wording.operation_words(name)


@register.filter
def slug(value: Any) -> str:
    """An identifier as a part of an address."""
    return str(value).replace("_", "-")


@register.filter
def words(value: Any) -> str:
    """An identifier as words: `shut_off` reads “shut off”."""
    return str(value).replace("_", " ")


@register.filter
def percent(share: float) -> str:
    """A share of 1 as a percentage."""
    return f"{100 * share:.0f} %"


@register.simple_tag
def memory_used(host: Host) -> int:
    """Memory in use on a host, in MiB."""
    return max(0, host.memory_mib - host.memory_free_mib)


@register.filter
def memory_is_short(host: Host) -> bool:
    """Whether less than an eighth of a host's memory is free."""
    return host.memory_free_mib * 8 < host.memory_mib


@register.simple_tag
def count_of(counts: dict[int, int], key: int) -> int:
    """A number out of a table of numbers; 0 where there is none."""
    return counts.get(key, 0)


@register.filter
def scope_kind(grant: Grant) -> str:
    """The kind of thing that a grant is on, as a word before its name."""
    kind = next(name for name in SCOPES if getattr(grant, f"{name}_id") is not None)
    return "VM" if kind == "vm" else kind
