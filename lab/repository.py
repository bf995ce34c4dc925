"""The lab's apt repository: which versions are offered, and the web server that offers them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence

from lab import names, packages, processes
from lab.shell import ENVIRONMENT, PYTHON, ROOT, run, wait_until
from lab.state import Places, State

#: The name under which guests know the repository; their images are shared by labs.
HOST_NAME = "repository.lab"


class Repository:
    """The apt repository of one lab."""

    def __init__(self, places: Places, state: State) -> None:
        self._directory = places.repository
        self._address = str(names.outer_address(state.network, names.MANAGEMENT))
        self.url = f"http://{self._address}:{names.REPOSITORY_PORT}/"

    def start(self) -> None:
        """Serve the repository, with 1.1 on offer if nothing was chosen yet."""
        self._directory.mkdir(parents=True, exist_ok=True)
        if not (self._directory / "Packages").exists():
            self.offer([packages.GOOD])
        if not self._find():
            self._serve()

    def offer(self, versions: Sequence[str]) -> None:
        """Offer exactly these versions of the package; none makes the repository empty.

        Raises ValueError for a version that there is not.
        """
        pool = self._directory / "pool"
        fresh = self._directory / "pool.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for version in versions:
            packages.build(version, fresh)
        shutil.rmtree(pool, ignore_errors=True)
        fresh.rename(pool)
        index, new = self._directory / "Packages", self._directory / "Packages.new"
        new.write_text(run("dpkg-scanpackages", "--multiversion", "pool", cwd=self._directory))
        # Clients ask "newer than?" in whole seconds, so two offers within one must differ too.
        changed = max(time.time(), index.stat().st_mtime + 1 if index.exists() else 0)
        os.utime(new, (changed, changed))
        new.replace(index)

    def offered(self) -> list[str]:
        """The versions on offer."""
        index = self._directory / "Packages"
        lines = index.read_text().splitlines() if index.exists() else []
        return sorted(line.split()[1] for line in lines if line.startswith("Version:"))

    def stop(self) -> None:
        """End the web server."""
        processes.end(self._find, self._is_ours, "the repository's web server")

    def _is_ours(self, pid: int) -> bool:
        words = processes.command_line(pid)
        return {"lab.webserver", str(self._directory)} <= set(words)

    def _find(self) -> list[int]:
        return [pid for pid in processes.all_pids() if self._is_ours(pid)]

    def _serve(self) -> None:
        server = [PYTHON, "-m", "lab.webserver", self._address, str(names.REPOSITORY_PORT), str(self._directory)]
        log_path = self._directory.with_name("repository.log")
        with log_path.open("ab") as said:
            subprocess.run(
                ["setsid", "--fork", *server],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd="/",
                env={**ENVIRONMENT, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                check=True,
            )
        wait_until(
            self._answers, seconds=30, what=f"an answer at {self.url}", detail=lambda: log_path.read_text()[-1000:]
        )

    def _answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"{self.url}Packages", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False
