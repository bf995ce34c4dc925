"""The story itself: each scene does one thing for real, says what it measured, and checks that it held."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from portal.demo.client import Api
from portal.demo.estate import Stage, set_up

PACKAGE = "slipway-hello"
#: The look for baselines that are due comes every ten seconds, and one is taken after the other.
BASELINE_WITHIN = 120


@dataclass
class Story:
    """The demo's state: who can be played, what was checked."""

    base_url: str
    lab: dict[str, Any]
    offer: Callable[[str], None]
    held: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    stage: Stage | None = None
    people: dict[str, Api] = field(default_factory=dict)

    def tell(self) -> bool:
        """Play every scene; whether all of it held."""
        for scene in (
            self.setting, self.segments, self.baseline, self.patch, self.broken_patch, self.migration, self.refusals,
            self.recovery, self.maintenance, self.record,
        ):  # fmt: skip
            with self._scene(scene):
                scene()
        print(f"\n{len(self.held)} checks held, {len(self.broken)} did not.")
        for sentence in self.broken:
            print(f"  NOT: {sentence}")
        return not self.broken

    @contextmanager
    def _scene(self, scene: Callable[[], None]) -> Iterator[None]:
        title = (scene.__doc__ or scene.__name__).strip()
        print(f"\n== {title}", flush=True)
        began = time.monotonic()
        try:
            yield
        except Exception as error:  # the other scenes are told all the same
            self.check(False, f"{title}: {error}")
        print(f"   ({time.monotonic() - began:.1f} s)", flush=True)

    def check(self, holds: bool, sentence: str) -> None:
        """Note whether something held, and say it."""
        (self.held if holds else self.broken).append(sentence)
        print(f"   {'✓' if holds else '✗'} {sentence}", flush=True)

    # -- scenes ------------------------------------------------------------------------------------------------

    def setting(self) -> None:
        """Hosts, segments, teams and people, through the REST API"""
        admin = Api(self.base_url, token_for("admin"))
        self.stage = set_up(admin, self.lab)
        self.people = {name: Api(self.base_url, token_for(name)) for name in self.stage.users}
        self.check(
            len(self.stage.vms) == len(self.lab["guests"]), f"{len(self.stage.vms)} real guests found by the watcher"
        )

    def segments(self) -> None:
        """Ada of accounting sees accounting's VMs, and no others exist for her"""
        seen = {vm["name"] for vm in self.people["ada"].get("vms/")["results"]}
        own = {name for name in self._stage.vms if name.startswith("acct-")}
        self.check(seen == own, f"Ada's list is {', '.join(sorted(seen))}")

    def baseline(self) -> None:
        """The ledger is in accounting now: its baseline, the snapshot to fall back to, is taken by itself"""
        ada = self.people["ada"]
        deadline = time.monotonic() + BASELINE_WITHIN
        while (outlook := ada.get(f"vms/{self._ledger}/baseline/"))["baseline"] is None and time.monotonic() < deadline:
            time.sleep(0.5)
        taken = [one for one in ada.get(f"vms/{self._ledger}/snapshots/")["results"] if one["is_baseline"]]
        self.check(len(taken) == 1, f"it has one: {taken[0]['name'] if taken else outlook['why']}")
        if taken:
            self.check(
                taken[0]["has_memory"] and isinstance(taken[0]["pause_ms"], int) and taken[0]["created_by"] is None,
                f"nobody asked for it; the guest stood still for {taken[0]['pause_ms']} ms",
            )
        again = ada.get(f"vms/{self._ledger}/baseline/")
        print(f"   the next would take {again['foretold_pause_seconds']} s, by {again['foretold_by']}")

    def patch(self) -> None:
        """Ada patches the ledger: plan, snapshot, exactly the plan, health check, keep"""
        self.offer("1.1")
        job = self.people["ada"].job("vm.patch", self._ledger)
        self._ended(job, "succeeded")
        changed = {(p["package"], p["old"], p["new"]) for p in job["result"].get("packages", [])}
        self.check(changed == {(PACKAGE, "1.0", "1.1")}, f"changed in the guest: {sorted(changed)}")
        self._show_steps(job)

    def broken_patch(self) -> None:
        """The next version is broken: the patch fails in the guest and rolls itself back"""
        self.offer("1.2")
        began = time.monotonic()
        job = self.people["ada"].job("vm.patch", self._ledger)
        self._ended(job, "failed")
        print(f"   {(job['error'] or {}).get('message')}")
        self.check(
            job["result"].get("rolled_back") is True,
            f"rolled back and verified, {time.monotonic() - began:.1f} s in all",
        )
        self.offer("1.1")

    def migration(self) -> None:
        """Ada moves the running ledger to the other host, snapshots and all"""
        ada = self.people["ada"]
        before = {snapshot["name"] for snapshot in ada.get(f"vms/{self._ledger}/snapshots/")["results"]}
        home = ada.get(f"vms/{self._ledger}/")["host"]["name"]
        address = next(guest["address"] for guest in self.lab["guests"] if guest["name"] == "acct-ledger")
        asked = ada.call("PUT", f"vms/{self._ledger}/migration/", {"policy": "gentle", "address": address})
        self.check(asked.status == 200, f"it is to be moved gently, and listened to at {address} meanwhile")
        job = ada.job("vm.migrate", self._ledger)
        self._ended(job, "succeeded")
        result = job["result"]
        phases = ", ".join(f"{phase['phase']} {phase['seconds']} s" for phase in result.get("phases", []))
        print(
            f"   {result.get('source')} → {result.get('destination')}: {phases}; {result.get('iterations')} iterations"
        )
        downtime = result.get("downtime_ms")
        self.check(
            isinstance(downtime, int) and downtime > 0,
            f"measured downtime {downtime} ms, {result.get('seconds')} s in all",
        )
        between, outside = result.get("downtime_event_gap_ms"), result.get("downtime_outside_ms")
        self.check(
            isinstance(outside, int), f"{between} ms between the hosts' events, {outside} ms of silence on its network"
        )
        now = ada.get(f"vms/{self._ledger}/")["host"]["name"]
        self.check(now == result.get("destination") != home, f"the ledger runs on {now}")
        after = {snapshot["name"] for snapshot in ada.get(f"vms/{self._ledger}/snapshots/")["results"]}
        self.check(after == before and bool(before), f"its {len(after)} snapshots came along")

    def refusals(self) -> None:
        """Who has no right is refused, and who may not see finds nothing"""
        body = {"operation": "vm.migrate", "target": {"vm": self._ledger}, "params": {}}
        answer = self.people["vic"].call("POST", "jobs/", body)
        self.check(answer.status == 403, f"Vic, a viewer, may not migrate it: {answer.status} {_detail(answer.body)}")
        answer = self.people["eve"].call("POST", "jobs/", body)
        self.check(
            answer.status == 404, f"for Eve of engineering it does not exist: {answer.status} {_detail(answer.body)}"
        )
        answer = self.people["eve"].call("GET", f"vms/{self._ledger}/")
        self.check(answer.status == 404, f"nor can she look at it: {answer.status}")

    def recovery(self) -> None:
        """A mistake: back to the baseline within seconds"""
        ada = self.people["ada"]
        baseline = next(s for s in ada.get(f"vms/{self._ledger}/snapshots/")["results"] if s["is_baseline"])
        job = ada.job("snapshot.revert", self._ledger, snapshot=baseline["name"])
        self._ended(job, "succeeded")
        self.check(
            job["state"] == "succeeded", f"the ledger runs as installed again after {job['result'].get('seconds')} s"
        )

    def maintenance(self) -> None:
        """Olga empties a host for maintenance, with Otto's approval, and brings its VMs home"""
        admin, olga, otto = Api(self.base_url, token_for("admin")), self.people["olga"], self.people["otto"]
        accounting = self._stage.segments["accounting"]
        admin.call("PUT", f"segments/{accounting}/approvals/", {"needs_approval": ["host.drain"]})
        name = olga.get(f"vms/{self._ledger}/")["host"]["name"]
        host = self._stage.hosts[name]
        before = self._running_on(name)
        plan = olga.get(f"hosts/{host}/drain-plan/")
        self.check(plan["is_complete"], f"the plan: {len(plan['moves'])} of {len(before)} VMs move off {name}")
        asked = olga.ask("host.drain", {"host": host})
        self.check(
            asked["state"] == "awaiting_approval", f"accounting's rule asks for a second person: {asked['state']}"
        )
        answer = olga.call("POST", f"jobs/{asked['id']}/approve/", {"reason": "my own"})
        self.check(answer.status == 422, f"Olga may not approve it herself: {answer.status}")
        otto.post(f"jobs/{asked['id']}/approve/", {"reason": "Looked at the list"})
        began = time.monotonic()
        job = olga.follow(asked["id"])
        self._ended(job, "succeeded")
        for entry in job["vms"]["entries"]:
            part = olga.get(f"jobs/{entry['job']}/")
            downtime = part["result"].get("downtime_ms")
            print(f"     {entry['vm']['name']} to {entry['destination']}: {downtime} ms of downtime")
        state = olga.get(f"hosts/{host}/")["availability"]
        self.check(
            not self._running_on(name) and state == "maintenance",
            f"{name} is empty after {time.monotonic() - began:.1f} s, and in {state}",
        )
        back = olga.follow(olga.ask("host.activate", {"host": host})["id"])
        self._ended(back, "succeeded")
        self.check(self._running_on(name) == before, f"{back['result'].get('returned')} VMs are home on {name}")

    def _running_on(self, host: str) -> set[str]:
        """Names of the VMs that run on a host, by the inventory."""
        found = self.people["olga"].get(f"vms/?host={host}&power_state=running&page_size=200")
        return {vm["name"] for vm in found["results"]}

    def record(self) -> None:
        """Aude the auditor reads the record and verifies the chain"""
        events = self.people["aude"].get("audit-events/?page_size=1")["count"]
        refused = self.people["aude"].get("audit-events/?action=access.refused")["count"]
        self.check(refused >= 2, f"{events} events, {refused} refusals among them")
        report = verified()
        self.check(report.get("ok") is True, f"the chain is whole: {report.get('sealed')} events sealed")

    # -- helpers -----------------------------------------------------------------------------------------------

    @property
    def _stage(self) -> Stage:
        if self.stage is None:
            raise RuntimeError("the stage was not set")
        return self.stage

    @property
    def _ledger(self) -> int:
        return int(self._stage.vms["acct-ledger"]["id"])

    def _ended(self, job: Any, wanted: str) -> None:
        why = f": {job['error']['message']}" if job["error"] and job["state"] != wanted else ""
        self.check(job["state"] == wanted, f"{job['operation']} {job['state']}{why}")

    def _show_steps(self, job: Any) -> None:
        for step in job["steps"]:
            print(f"     {step['title']}: {step['state']}{_seconds(step)}")


def token_for(username: str) -> str:
    """An API token, made by the operator's command."""
    return _manage("token_create", username, "--days", "1").strip()


def verified(*, patience: float = 30.0) -> Any:
    """The verification's report, once the sealer has caught up with what was recorded last."""
    deadline = time.monotonic() + patience
    while True:
        report = json.loads(_manage("audit_verify", "--json", check=False))
        if not report.get("ok") or not report.get("unsealed") or time.monotonic() > deadline:
            return report
        time.sleep(0.3)


def _manage(*argv: str, check: bool = True) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *argv], check=check, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return done.stdout


def _detail(body: Any) -> str:
    return str(body.get("detail", "")) if isinstance(body, dict) else ""


def _seconds(step: Any) -> str:
    return f" ({step['seconds']:.1f} s)" if isinstance(step.get("seconds"), int | float) else ""
