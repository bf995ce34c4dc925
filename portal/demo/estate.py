"""Setting the stage: hosts, segments, teams, people and grants, all by the administrator through the REST API."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from portal.demo.client import Api

#: username -> (full name, team, role on the team's segment)
PEOPLE = {
    "ada": ("Ada Abel", "accounting", "maintainer"),
    "vic": ("Vic Vogel", "accounting", "viewer"),
    "eve": ("Eve Ericson", "engineering", "maintainer"),
    "olga": ("Olga Orlov", "", "platform-operator"),
    "otto": ("Otto Ochs", "", "platform-operator"),
    "aude": ("Aude Auger", "", "auditor"),
}
SEGMENTS = {
    "accounting": ("Books and payroll", "br-acct", "acct-"),
    "engineering": ("Builds and tools", "br-eng", "eng-"),
}


@dataclass
class Stage:
    """What was set up: names to ids, and everybody's password."""

    segments: dict[str, int]
    teams: dict[str, int]
    users: dict[str, int]
    passwords: dict[str, str]
    cluster: int
    hosts: dict[str, int]
    vms: dict[str, Any]


def set_up(admin: Api, lab: dict[str, Any]) -> Stage:
    """Enrol the lab's hosts and share its guests out among two teams."""
    segments = {
        name: admin.post("segments/", {"name": name, "description": text, "networks": [network]})["id"]
        for name, (text, network, _prefix) in SEGMENTS.items()
    }
    admin.call("PUT", f"segments/{segments['engineering']}/baseline/", {"policy": "installed", "longest_pause": 10})
    cluster = admin.post("clusters/", {"name": lab["name"], "shared_storage": True})["id"]
    hosts = {
        host["name"]: admin.post("hosts/", {"name": host["name"], "uri": host["uri"], "cluster": cluster})["id"]
        for host in lab["hosts"]
    }
    teams = {name: admin.post("teams/", {"name": name})["id"] for name in SEGMENTS}
    passwords = {name: secrets.token_urlsafe(12) for name in PEOPLE}
    users = {}
    for name, (full_name, team, role) in PEOPLE.items():
        person = {"username": name, "full_name": full_name, "password": passwords[name]}
        users[name] = admin.post("users/", person)["id"]
        if team:
            admin.post(f"teams/{teams[team]}/members/", {"user": users[name]})
            scope = {"segment": segments[team]}
        else:
            scope = {"everything": True}
        grant = {"user": users[name], "role": role, "effect": "allow", "reason": f"{full_name} works here"}
        admin.post("grants/", grant | scope)
    for team in teams.values():
        admin.post("grants/", {"team": team, "cluster": cluster, "role": "placement", "reason": "May balance its VMs"})
    vms = discovered(admin, {guest["name"] for guest in lab["guests"]})
    for name, (_text, _network, prefix) in SEGMENTS.items():
        for vm in vms.values():
            if vm["name"].startswith(prefix):
                answer = admin.call("PATCH", f"vms/{vm['id']}/", {"segment": segments[name]})
                if answer.status != 200:
                    raise RuntimeError(f"assigning {vm['name']} answered {answer.status}: {answer.body}")
    return Stage(segments, teams, users, passwords, cluster, hosts, vms)


def discovered(admin: Api, names: set[str], *, seconds: float = 90) -> dict[str, Any]:
    """Wait until the watcher has found these guests; name -> VM. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = {vm["name"]: vm for vm in admin.get("vms/?page_size=200")["results"]}
        ready = {name for name, vm in found.items() if vm["host"] and vm["power_state"] != "unknown"}
        if names <= ready:
            return {name: found[name] for name in names}
        time.sleep(0.3)
    raise TimeoutError(f"Not found on the hosts: {', '.join(sorted(names - set(found)))}")
