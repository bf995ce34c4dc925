"""A small client of the REST API, as an automation would write it: standard library only."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

FINAL = ("succeeded", "failed", "errored", "cancelled")


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer with its JSON body."""

    status: int
    body: Any
    location: str = ""


class Api:
    """One person's access to the API."""

    def __init__(self, base_url: str, token: str) -> None:
        self._base = f"{base_url}/api/v1/"
        self._token = token

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        """Call an endpoint (relative to `/api/v1/`); any status is an answer. Raises URLError when nobody answers."""
        url = path if path.startswith("http") else self._base + path
        headers = {"Authorization": f"Token {self._token}", "Accept": "application/json"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - our own http(s) address
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
                return Answer(response.status, _json(response.read()), response.headers.get("Location", ""))
        except urllib.error.HTTPError as error:
            return Answer(error.code, _json(error.read()))

    def get(self, path: str) -> Any:
        """The body of a GET that must succeed."""
        answer = self.call("GET", path)
        if answer.status != 200:
            raise RuntimeError(f"GET {path} answered {answer.status}: {answer.body}")
        return answer.body

    def post(self, path: str, body: Any) -> Any:
        """The body of a POST that must succeed."""
        answer = self.call("POST", path, body)
        if answer.status not in (200, 201, 202):
            raise RuntimeError(f"POST {path} answered {answer.status}: {answer.body}")
        return answer.body

    def job(self, operation: str, vm: int, **params: Any) -> Any:
        """Submit work on a VM and follow it to its end; the job as it ended."""
        return self.follow(self.ask(operation, {"vm": vm}, **params)["id"])

    def ask(self, operation: str, target: dict[str, int], **params: Any) -> Any:
        """Submit work on a VM, host or cluster; the job as it was accepted."""
        return self.post("jobs/", {"operation": operation, "target": target, "params": params})

    def follow(self, job_id: str, *, seconds: float = 1800) -> Any:
        """Wait until a job is over. Raises TimeoutError."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            job = self.get(f"jobs/{job_id}/")
            if job["state"] in FINAL:
                return job
            time.sleep(0.2)
        raise TimeoutError(f"Job {job_id} is not over after {seconds:.0f} s.")


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else None
    except ValueError:
        return content.decode("utf-8", "replace")
