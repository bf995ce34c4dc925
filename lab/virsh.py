"""libvirt's own command line client, with a deadline on every call."""

from __future__ import annotations

import json
from typing import Any

from lab.shell import LabError, run

#: A daemon that does not answer is noticed after interval x (count + 1) seconds.
_KEEPALIVE = ("--keepalive-interval", "5", "--keepalive-count", "2")


def virsh(uri: str, *words: str, timeout: float = 60) -> str:
    """Run a virsh command on the host at `uri`; returns its output, stripped.

    Raises LabError with libvirt's own message when it fails or takes more than `timeout` seconds.
    """
    return run("virsh", "--quiet", *_KEEPALIVE, "--connect", uri, *words, timeout=timeout).strip()


def agent(uri: str, domain: str, command: str, *, timeout: int = 10, **arguments: Any) -> Any:
    """Send a command to a guest's agent; returns the decoded `return` member.

    `timeout` is in seconds. Raises LabError when the agent does not answer or answers an error.
    """
    request = json.dumps({"execute": command, **({"arguments": arguments} if arguments else {})})
    words = ("qemu-agent-command", domain, request, "--timeout", str(timeout))
    answer = virsh(uri, *words, timeout=timeout + 20)
    decoded = json.loads(answer)
    if "return" not in decoded:
        raise LabError(f"the agent of {domain} answered {answer[:500]}")
    return decoded["return"]


def answers(uri: str, *, timeout: float = 10) -> bool:
    """Whether the daemon at `uri` accepts a connection and a call."""
    try:
        virsh(uri, "version", "--daemon", timeout=timeout)
    except LabError:
        return False
    return True
