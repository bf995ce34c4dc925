"""A lab described for people and programs: what `script/lab up` and `status` print."""

from __future__ import annotations

from typing import Any

from lab.guests import Guests
from lab.host import Host
from lab.repository import Repository
from lab.shell import LabError
from lab.state import Guest, Places, State


def describe(places: Places, state: State) -> dict[str, Any]:
    """The lab as plain data. A host that does not answer is `answers: false`, and is not asked more.

    A guest's `host` is where it runs, or where it is defined when it is off; None when no answering
    host knows it.
    """
    hosts = [Host(places, state, index) for index in range(1, state.hosts + 1)]
    answering = {host.name: host.answers() for host in hosts}
    guests = Guests(places, state, [host for host in hosts if answering[host.name]])
    repository = Repository(places, state)
    return {
        "name": state.name,
        "subnet": state.subnet,
        "hosts": [
            {
                "name": host.name,
                "uri": host.told_uri,
                "address": host.address,
                "uuid": host.uuid,
                "answers": answering[host.name],
            }
            for host in hosts
        ],
        "guests": [describe_guest(guest, guests) for guest in state.guests],
        "repository": {"url": repository.url, "offered": repository.offered()},
        "store": str(places.store),
        "pki": str(places.client_pki) if state.tls else None,
    }


def describe_guest(guest: Guest, guests: Guests) -> dict[str, Any]:
    """One guest as plain data, with its present host and libvirt's word for its state."""
    try:
        known = guests.find(guest)
        state = guests.power_state(guest, known[0]) if known else "unknown"
    except LabError:
        known, state = [], "unknown"
    return {
        "name": guest.name,
        "uuid": guest.uuid,
        "host": known[0].name if known else None,
        "kind": guest.kind,
        "segment": guest.segment,
        "address": guest.address,
        "memory_mib": guest.memory_mib,
        "state": state,
    }
