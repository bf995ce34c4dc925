"""`python -m tests.mutants`: try every mutant, or those whose name holds a word; `--list` only names them.

Ends with status 0 if all died but those that `explained.table` explains, and each of these lives.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.explained import explanations
from tests.mutants.notes import Notes, Verdict
from tests.mutants.running import Trial
from tests.mutants.weaving import ROOT, SWITCH, Mutant, mutants, weave

#: Where what was found is kept.
OUTPUT = ROOT / "var" / "mutants"
ROOMS = ["access", "admin", "api", "audit", "console", "inventory", "jobs", "pages"]
#: The whole matrix and the probes are tried address by address, by `by_address.py`, which says the same.
_WHOLE = (
    "tests/access/matrix/test_matrix.py::test_everybody_is_answered_as_the_table_says",
    "tests/access/matrix/test_leaks.py",
)


def main() -> int:
    """What the command line asks for; the status to end with."""
    options = _options()
    wanted = _wanted(options)
    if options.list:
        for mutant in wanted:
            print(f"{mutant.line:5} {mutant.key}")
        print(f"{len(wanted)} mutants")
        return 0
    weave()
    if options.alone:
        SWITCH.awake = options.alone
        return int(pytest.main(["-x", "-q", *_arguments(options.tests)]))
    began = time.perf_counter()
    notes = Notes(OUTPUT / ("some-verdicts.jsonl" if options.tests else "verdicts.jsonl"), reuse=options.reuse)
    left = [mutant for mutant in wanted if notes.verdict(mutant) is None]
    kept = OUTPUT / ("some-tests.json" if options.tests else "tests.json")
    trial = Trial(left, kept, reuse=options.reuse, patience=options.patience, noted=notes.add)
    if left:
        pytest.main(["-q", "-s", *_arguments(options.tests)], plugins=[trial])
    if trial.broken:
        print(f"Without a mutant, these fail already: {trial.broken}")
        return 2
    for mutant in trial.late():
        trial.tell(mutant, _alone(mutant, trial.names()))
    verdicts = [verdict for mutant in wanted if (verdict := notes.verdict(mutant)) is not None]
    verdicts += [verdict for verdict in trial.verdicts if not verdict.killer]
    return _report(verdicts, complete=len(verdicts) == len(mutants()), seconds=time.perf_counter() - began)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="script/mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name holds all of these")
    parser.add_argument("--list", action="store_true", help="name the mutants and try none")
    parser.add_argument("--names", type=Path, metavar="FILE", help="only those that stand in this file, a line each")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many, taken at random")
    parser.add_argument(
        "--reuse", action="store_true", help="go on from the last run: what died is dead while its file is the same"
    )
    parser.add_argument(
        "--patience", type=float, default=1200, metavar="SECONDS", help="how long to try one mutant (%(default)s)"
    )
    parser.add_argument("--tests", action="append", metavar="PATH", help="only these tests (again for more)")
    parser.add_argument("--alone", metavar="NAME", help="run the tests with this mutant awake from the start")
    return parser.parse_args()


def _wanted(options: argparse.Namespace) -> list[Mutant]:
    found = [mutant for mutant in mutants() if all(word in mutant.key for word in options.words)]
    if options.names:
        named = set(options.names.read_text().splitlines())
        found = [mutant for mutant in found if mutant.key in named]
    if options.sample:
        found = random.sample(found, min(options.sample, len(found)))
    return found


def _arguments(tests: list[str] | None) -> list[str]:
    """What pytest is told: which tests, none of them in a browser or on the real estate."""
    rooms = tests or [*(f"tests/{room}" for room in ROOMS), "tests/mutants/by_address.py"]
    left_out = [word for name in _WHOLE for word in ("--deselect", name)]
    which = ["-m", "not browser and not lab and not long"]
    return [*which, "--basetemp", _directory(), "-p", "no:cacheprovider", *left_out, *rooms]


def _directory() -> str:
    """For the files of all tests of this run, which end with it."""
    found = tempfile.mkdtemp(prefix="slipway-mutants-")
    atexit.register(shutil.rmtree, found, ignore_errors=True)
    return found


def _alone(mutant: Mutant, names: list[str]) -> Verdict:
    """A mutant that has to be awake while modules are imported: the tests in a process of their own."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "tests.mutants", "--alone", mutant.key]
    command += [word for name in names for word in ("--tests", name)]
    # Not the settings' own marks: they would give it the data directory of this process.
    ours = {"SLIPWAY_TESTS_PROCESS", "SLIPWAY_DATA_DIR"}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    killer = "" if done.returncode == 0 else (failed or ["the start"])[0]
    return Verdict(mutant.key, killer, round(time.perf_counter() - began, 2), len(names), len(names))


def _report(verdicts: list[Verdict], *, complete: bool, seconds: float) -> int:
    """Say what came of it, and keep it."""
    explained = explanations()
    survivors = [verdict for verdict in verdicts if not verdict.killer and verdict.key not in explained]
    wrong = [verdict for verdict in verdicts if verdict.killer and verdict.key in explained]
    dead = [verdict for verdict in verdicts if verdict.killer]
    counted = len(dead) + len(survivors)
    kept = OUTPUT / ("report.json" if complete else "part.json")
    kept.parent.mkdir(parents=True, exist_ok=True)
    rules = Counter(mutant.rule for mutant in mutants())
    facts = {
        "mutants": len(verdicts), "killed": len(dead), "explained": len(verdicts) - counted,
        "survived": [verdict.key for verdict in survivors], "seconds": round(seconds),
        "of_each_rule": dict(rules),
        "killers": {verdict.key: verdict.killer for verdict in dead},
    }  # fmt: skip
    kept.write_text(json.dumps(facts, indent=1))
    for verdict in survivors:
        print(f"SURVIVED, met by {verdict.met} tests: {verdict.key}")
    for verdict in wrong:
        print(f"explained, but it dies: {verdict.key} (of {verdict.killer})")
    share = 100 * len(dead) / counted if counted else 0
    print(f"{len(verdicts)} mutants in {seconds:.0f} s: {len(dead)} killed, {len(survivors)} survived,"
          f" {len(verdicts) - counted} explained; {share:.1f} % of those that are not explained died"
          f" ({Path(kept).relative_to(ROOT)})")  # fmt: skip
    return 1 if survivors or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
