"""The page that follows a job: what it shows, when it is asked for again, and when that ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from access.models import Grant
from audit.models import AuditEvent
from jobs.models import Control, Curve, Job, Step
from jobs.states import State
from tests import factories as make
from tests.pages.conftest import HTMX, Estate, seen

WARM_UP = {
    "phase": "warm-up",
    "remaining_bytes": 3 * 2**30,
    "total_bytes": 8 * 2**30,
    "bps": 100 * 2**20,
    "dirty_bps": 150 * 2**20,
    "iteration": 4,
    "throttle_percent": 30,
    "expected_downtime_ms": 1700,
    "downtime_limit_ms": 300,
}


@pytest.fixture
def job(estate: Estate) -> Job:
    """A migration in the middle of its warm-up."""
    running = make.job(
        estate.vm,
        by=make.user("ben", full_name="Ben Okafor"),
        operation="vm.migrate",
        state=State.RUNNING,
        phase="warm-up",
        percent=62,
        progress=WARM_UP,
        params={"destination": estate.south.pk, "destination_name": "south-1", "policy": "gentle"},
        started_at=timezone.now() - timedelta(seconds=41),
    )
    step(running, 0, "precheck", "See that the VM runs", detail="running")
    step(running, 1, "execute", "Migrate from north-1 to south-1", state=Step.State.RUNNING)
    return running


def step(job: Job, position: int, phase: str, title: str, *, state: str = Step.State.DONE, detail: str = "") -> None:
    now = timezone.now()
    Step.objects.create(
        job=job,
        position=position,
        phase=phase,
        name=f"step-{position}",
        title=title,
        state=state,
        detail=detail,
        started_at=now - timedelta(seconds=2),
        finished_at=None if state == Step.State.RUNNING else now,
    )


def end(job: Job, state: State, **facts: Any) -> None:
    """The job ends, as a worker would have it."""
    Job.objects.filter(pk=job.pk).update(state=state, phase="done", finished_at=timezone.now(), **facts)
    job.locks.all().delete()


def page(client: Client, job: Job) -> Any:
    return client.get(reverse("job-detail", args=[job.pk]))


def poll(client: Client, job: Job, **query: str) -> Any:
    return client.get(reverse("job-live", args=[job.pk]), query, headers=HTMX)


def stages(answer: Any) -> dict[str, str]:
    return {stage.title: stage.state for stage in answer.context["stages"]}


def test_a_migration_under_way(viewer: Client, job: Job) -> None:
    answer = page(viewer, job)
    assert stages(answer) == {
        "Checking": "done",
        "Preparing": "done",
        "Warm-up": "now",
        "Stop-and-copy": "ahead",
        "Verifying": "ahead",
    }
    text = seen(answer).text
    for words in (
        "62 %", "3 GiB of 8 GiB", "Pass over memory 4", "30 %", "Pause if it switched now 1.7 s",
        "Pause allowed 300 ms", "100 MiB/s", "150 MiB/s",
        "The guest writes faster than the link carries", "asked by Ben Okafor",
        "Destination south-1", "See that the VM runs", "running",
    ):  # fmt: skip
        assert words in text, words


def test_it_is_asked_for_every_second_until_it_is_over(viewer: Client, job: Job) -> None:
    whole = page(viewer, job)
    assert b'hx-trigger="every 1s"' in whole.content
    part = poll(viewer, job, heard=whole.context["announcement"])
    assert part.status_code == 200
    assert seen(part).text in seen(whole).text
    end(job, State.SUCCEEDED, percent=100)
    assert poll(viewer, job).status_code == 286
    assert b"every 1s" not in page(viewer, job).content


def test_nothing_is_sent_while_nothing_changed(viewer: Client, job: Job) -> None:
    mark = page(viewer, job).context["seen"]
    same = poll(viewer, job, seen=mark)
    assert (same.status_code, same.content) == (204, b"")
    Job.objects.filter(pk=job.pk).update(percent=63)
    assert poll(viewer, job, seen=mark).status_code == 200


def test_a_step_that_ends_is_news(viewer: Client, job: Job) -> None:
    mark = page(viewer, job).context["seen"]
    Step.objects.filter(job=job, position=1).update(state=Step.State.DONE, finished_at=timezone.now())
    assert poll(viewer, job, seen=mark).status_code == 200


def test_what_is_announced_changes_with_the_phase_only(viewer: Client, job: Job) -> None:
    heard = page(viewer, job).context["announcement"]
    assert heard == "Migrate ledger-app: warm-up."
    Job.objects.filter(pk=job.pk).update(percent=70)
    assert b"job-announcement" not in poll(viewer, job, heard=heard).content
    Job.objects.filter(pk=job.pk).update(phase="stop-and-copy", progress=WARM_UP | {"phase": "stop-and-copy"})
    assert b'id="job-announcement"' in poll(viewer, job, heard=heard).content


def test_the_end_takes_the_cancel_button_away(maintainer: Client, job: Job) -> None:
    cancel = reverse("job-cancel", args=[job.pk])
    assert cancel in seen(page(maintainer, job)).links
    end(job, State.SUCCEEDED, percent=100)
    last = poll(maintainer, job)
    assert b'id="job-head" hx-swap-oob="innerHTML"' in b" ".join(last.content.split())
    assert cancel not in seen(last).links
    assert "Succeeded" in seen(last).text


def test_the_measured_downtime_is_the_result(viewer: Client, job: Job) -> None:
    result = {
        "source": "north-1",
        "destination": "south-1",
        "seconds": 7.412,
        "downtime_ms": 142,
        "downtime_source": "hypervisor",
        "iterations": 4,
        "post_copy": False,
        "phases": [{"phase": "preparing", "seconds": 0.31}, {"phase": "warm-up", "seconds": 6.74}],
    }
    end(job, State.SUCCEEDED, percent=100, result=result)
    answer = page(viewer, job)
    assert set(stages(answer).values()) == {"done"}
    text = seen(answer).text
    for words in ("142 ms", "downtime, measured by the hypervisor", "7.4 s", "310 ms", "6.7 s", "Post-copy No"):
        assert words in text, words
    assert "142 ms of downtime" in seen(viewer.get(reverse("job-list"))).text


def test_a_downtime_that_was_not_measured_is_not_made_up(viewer: Client, job: Job) -> None:
    result = {
        "source": "a",
        "destination": "b",
        "seconds": None,
        "downtime_ms": None,
        "downtime_source": "not measured",
    }
    end(job, State.SUCCEEDED, percent=100, result=result | {"iterations": 0, "post_copy": False, "phases": []})
    text = seen(page(viewer, job)).text
    assert "downtime was not measured" in text
    assert "0 ms" not in text


def test_a_failure_says_why_and_where(viewer: Client, job: Job) -> None:
    sentence = "The migration made no headway: the guest writes 184 MiB/s."
    end(job, State.FAILED, error_code="not_converging", error_message=sentence)
    answer = page(viewer, job)
    assert sentence in seen(answer).text
    assert stages(answer)["Warm-up"] == "stopped"
    assert stages(answer)["Verifying"] == "ahead"


def test_post_copy_takes_the_place_of_stop_and_copy(viewer: Client, job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(phase="post-copy", progress=WARM_UP | {"phase": "post-copy"})
    shown = stages(page(viewer, job))
    assert shown["Post-copy"] == "now"
    assert "Stop-and-copy" not in shown


def test_a_patch_shows_its_packages_and_what_became_of_the_snapshot(viewer: Client, estate: Estate) -> None:
    changed = {"package": "ledgerd", "old": "2.3.0-1", "new": "2.3.1-1"}
    result = {"packages": [changed], "snapshot": "patch-1", "up_to_date": False, "reboot_required": True}
    ben = make.user("ben")
    done = make.job(estate.vm, by=ben, operation="vm.patch", state=State.SUCCEEDED, result=result, percent=100)
    text = seen(page(viewer, done)).text
    for words in ("ledgerd 2.3.0-1 2.3.1-1", "patch-1 , taken before, is kept", "The guest wants a reboot"):
        assert words in text, words
    undone = make.job(
        estate.vm,
        by=ben,
        operation="vm.patch",
        state=State.FAILED,
        result={"rolled_back": True, "snapshot": "patch-2"},
        progress={"phase": "checking health"},
        error_message="Units that ran before have failed: ledgerd.service.",
        error_code="unhealthy_after_patch",
    )
    text = seen(page(viewer, undone)).text
    assert "Rolled back to patch-2 ; the packages are those of before." in text
    assert "Units that ran before have failed: ledgerd.service." in text


def test_a_job_that_lost_its_worker_says_that_it_goes_on(viewer: Client, job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.LOST, error_message="Cannot connect to north-1.")
    text = seen(page(viewer, job)).text
    assert "The job is taken up again by itself" in text
    assert "Cannot connect to north-1." in text


def test_cancelling_a_running_job_is_a_request(maintainer: Client, viewer: Client, job: Job) -> None:
    address = reverse("job-cancel", args=[job.pk])
    assert "goes on running where it is" in seen(maintainer.get(address)).text
    assert viewer.post(address).status_code == 403
    assert maintainer.post(address)["Location"] == reverse("job-detail", args=[job.pk])
    job.refresh_from_db()
    assert (job.state, job.cancel_requested_by) == (State.CANCELLING, "mara")
    assert "mara asked to cancel" in seen(page(maintainer, job)).text
    assert address not in seen(page(maintainer, job)).links
    assert AuditEvent.objects.filter(action="job.cancel_requested", actor_name="mara").count() == 1


def test_a_job_that_is_over_is_not_cancelled(maintainer: Client, job: Job) -> None:
    end(job, State.SUCCEEDED)
    answer = maintainer.post(reverse("job-cancel", args=[job.pk]))
    assert (answer.status_code, "The job is over: it succeeded." in seen(answer).text) == (409, True)


def test_what_may_no_longer_be_seen_ends_for_its_page_too(viewer: Client, job: Job, estate: Estate) -> None:
    assert poll(viewer, job).status_code == 200
    Grant.objects.filter(segment=estate.ledger).delete()
    assert poll(viewer, job).status_code == 404


def test_jobs_are_filtered_and_paged(viewer: Client, estate: Estate, job: Job) -> None:
    ben = make.user("bob")
    for _ in range(55):
        make.job(estate.vm, by=ben, operation="vm.reboot", state=State.FAILED)
    make.job(estate.foreign, by=ben, operation="vm.start", state=State.FAILED)

    def count(**query: Any) -> int:
        return int(viewer.get(reverse("job-list"), query).context["page_obj"].paginator.count)

    assert count() == 56
    assert count(state="unfinished") == 1
    assert count(state="ended_badly") == 55
    assert count(operation="vm.migrate") == 1
    assert count(q="LEDGER") == 56
    assert count(vm=estate.vm.pk) == 56
    assert count(vm=estate.foreign.pk) == count(state="nonsense") == count(operation="vm.start") == 0
    assert len(viewer.get(reverse("job-list"), {"page": 2}).context["object_list"]) == 6


# A migration under way can be changed


def test_the_controls_are_offered_to_who_may_migrate_while_it_can_be_changed(
    maintainer: Client, viewer: Client, job: Job
) -> None:
    page, control = reverse("job-detail", args=[job.pk]), "job-control"
    links = [reverse(control, args=[job.pk, verb]) for verb in ("set-bandwidth", "force-completion", "start-post-copy")]
    assert [link in seen(maintainer.get(page)).links for link in links] == [True, True, False]  # not armed
    assert not any(link in seen(viewer.get(page)).links for link in links)
    Job.objects.filter(pk=job.pk).update(params=job.params | {"policy": "assured"})
    assert links[2] in seen(maintainer.get(page)).links
    Job.objects.filter(pk=job.pk).update(phase="stop-and-copy")
    assert not any(link in seen(maintainer.get(page)).links for link in links)


def test_completing_says_how_long_the_guest_would_stand_still(maintainer: Client, job: Job) -> None:
    address = reverse("job-control", args=[job.pk, "force-completion"])
    assert "it stands still for 31 s" in seen(maintainer.get(address)).text
    assert maintainer.post(address).status_code == 302
    wish = Control.objects.get(job=job)
    assert (wish.verb, wish.outcome) == ("force_completion", "waiting")
    assert "mara: Complete now, waits for the worker" in seen(maintainer.get(reverse("job-detail", args=[job.pk]))).text


def test_a_new_bandwidth_is_a_number(maintainer: Client, job: Job) -> None:
    address = reverse("job-control", args=[job.pk, "set-bandwidth"])
    assert maintainer.post(address, {"value": "much"}).status_code == 400
    assert maintainer.post(address, {"value": "250"}).status_code == 302
    assert Control.objects.get(job=job).value == 250
    assert maintainer.get(reverse("job-control", args=[job.pk, "explode"])).status_code == 404


def test_the_course_is_drawn_once_there_is_one(maintainer: Client, job: Job) -> None:
    page = reverse("job-detail", args=[job.pk])
    assert maintainer.get(page).context["chart"] is None
    rows = [[second, (8 - second) * 2**30, 100 * 2**20, 50 * 2**20, 300, 0] for second in range(8)]
    Curve.objects.create(job=job, points=rows)
    found = maintainer.get(page)
    assert "what was left fell from 8 GiB to 1 GiB" in found.content.decode()
    drawn = found.context["chart"].left.split()
    assert (drawn[0], drawn[-1]) == ("0.0,0.0", "600.0,105.0")


def test_a_preview_is_asked_for_by_its_own_button_and_tells_what_it_found(
    maintainer: Client, viewer: Client, estate: Estate
) -> None:
    form = {"key": str(uuid4()), "policy": "gentle", "look_first": "1"}
    assert maintainer.post(reverse("vm-migrate", args=[estate.vm.pk]), form).status_code == 302
    preview = Job.objects.get()
    assert preview.operation == "vm.migrate_preview"
    result: dict[str, Any] = {
        "source": "north-1", "destination": "south-1", "would_begin": False, "snapshots": 2, "seconds": None,
        "refused": [{"code": "network_missing", "message": "south-1 has no network br-acct."}],
        "ends": False, "sentence": "The guest writes more than the link carries.",
    }  # fmt: skip
    Job.objects.filter(pk=preview.pk).update(state=State.SUCCEEDED, result=result)
    page = seen(maintainer.get(reverse("job-detail", args=[preview.pk])))
    assert "A migration to south-1 would be refused. south-1 has no network br-acct." in page.text
    assert "The guest writes more than the link carries." in page.text
    migrate = reverse("vm-migrate", args=[estate.vm.pk])
    assert migrate in page.links
    assert migrate not in seen(viewer.get(reverse("job-detail", args=[preview.pk]))).links
