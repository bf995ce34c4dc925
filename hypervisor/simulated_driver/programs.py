"""Programs of the simulated Debian, by name. A program is a function of the machine, its arguments and the time.

What is not here does not exist: the agent refuses to start it, a shell says 127. Add one with `@program("name")`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from hypervisor.simulated_driver.machine import Machine, Outcome, Unit
from hypervisor.simulated_driver.store import speed

Program = Callable[[Machine, Sequence[str], float], Outcome]
_programs: dict[str, Program] = {}
_FOLDERS = ("/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/")


def program(*names: str) -> Callable[[Program], Program]:
    """Register a program; it gets the machine, its arguments (without its name) and the time."""

    def register(function: Program) -> Program:
        _programs.update(dict.fromkeys(names, function))
        return function

    return register


def find(name: str) -> Program | None:
    """A program by its name or path."""
    folder, slash, base = name.rpartition("/")
    if slash and f"{folder}/" not in _FOLDERS:
        return None
    return _programs.get(base)


def run(machine: Machine, argv: Sequence[str], now: float) -> Outcome:
    """Run a program as a shell or `env` would: 127 when there is none, 2 when it cannot do with its arguments."""
    found = find(argv[0]) if argv else None
    if found is None:
        return Outcome(127, stderr=f"{argv[0] if argv else ''}: not found\n".encode())
    try:
        return found(machine, argv[1:], now)
    except (ValueError, LookupError, StopIteration):
        return Outcome(2, stderr=f"{argv[0]}: the simulated program does not take these arguments\n".encode())


def finish_units(machine: Machine, now: float) -> None:
    """Let the units that have ended by now have their effects."""
    for name, unit in sorted(machine.units.items(), key=lambda item: item[1].ends):
        if unit.done or unit.ends > now:
            continue
        outcome = run(machine, unit.argv, unit.ends)
        unit.done, unit.exit_code = True, outcome.exit_code
        if unit.output:
            before = (machine.read(unit.output) or b"") if unit.appends else b""
            machine.write(unit.output, before + outcome.stdout + outcome.stderr)
        if outcome.exit_code == 0 and not unit.remains:
            del machine.units[name]


@program("true", "sync", "mkdir", "chmod")
def _nothing(_machine: Machine, _arguments: Sequence[str], _now: float) -> Outcome:
    return Outcome()


@program("false")
def _false(_machine: Machine, _arguments: Sequence[str], _now: float) -> Outcome:
    return Outcome(1)


@program("echo")
def _echo(_machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    return Outcome(stdout=(" ".join(arguments) + "\n").encode())


@program("sleep")
def _sleep(_machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    return Outcome(seconds=float(arguments[0]))


@program("cat")
def _cat(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    outcome = Outcome()
    for path in arguments:
        content = machine.read(path)
        if content is None:
            outcome.exit_code = 1
            outcome.stderr += f"cat: {path}: No such file or directory\n".encode()
        else:
            outcome.stdout += content
    return outcome


@program("test")
def _test(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    """`test -e`, `-f`, `-s` of a file."""
    operator, path = arguments
    content = machine.read(path)
    return Outcome(int(content is None or (operator == "-s" and not content)))


@program("rm")
def _rm(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    force = any(word.startswith("-") and "f" in word for word in arguments)
    outcome = Outcome()
    for path in (word for word in arguments if not word.startswith("-")):
        inside = [name for name in machine.files if name == path or name.startswith(f"{path}/")]
        for name in inside:
            del machine.files[name]
        if not inside and not force:
            outcome = Outcome(1, stderr=f"rm: cannot remove '{path}': No such file or directory\n".encode())
    return outcome


@program("mv")
def _mv(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    source, target = [word for word in arguments if not word.startswith("-")]
    content = machine.read(source)
    if content is None:
        return Outcome(1, stderr=f"mv: cannot stat '{source}': No such file or directory\n".encode())
    machine.write(target, content)
    del machine.files[source]
    return Outcome()


@program("hostname")
def _hostname(machine: Machine, _arguments: Sequence[str], _now: float) -> Outcome:
    return Outcome(stdout=machine.read("/etc/hostname") or b"")


@program("uname")
def _uname(machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    return Outcome(stdout=(machine.kernel if "-r" in arguments else "Linux").encode() + b"\n")


@program("df")
def _df(_machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    """8 GB free everywhere: as `df --output=avail -B1` or as POSIX has it."""
    if any(word.startswith("--output") for word in arguments):
        return Outcome(stdout=b"     Avail\n8000000000\n")
    return Outcome(
        stdout=b"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda1 10000000 2000000 7812500 21% /\n"
    )


@program("env")
def _env(machine: Machine, arguments: Sequence[str], now: float) -> Outcome:
    words = list(arguments)
    while words and "=" in words[0]:
        words.pop(0)
    return run(machine, words, now) if words else Outcome()


@program("needrestart")
def _needrestart(machine: Machine, _arguments: Sequence[str], _now: float) -> Outcome:
    expected = machine.next_kernel or machine.kernel
    state = 1 if expected == machine.kernel else 3
    lines = ("NEEDRESTART-VER: 3.6", f"NEEDRESTART-KCUR: {machine.kernel}", f"NEEDRESTART-KEXP: {expected}")
    return Outcome(stdout="\n".join([*lines, f"NEEDRESTART-KSTA: {state}", ""]).encode())


@program("reboot", "shutdown", "poweroff")
def _reboot(_machine: Machine, arguments: Sequence[str], _now: float) -> Outcome:
    off = "-h" in arguments or "-P" in arguments
    return Outcome(reboots=not off, powers_off=off)


@program("systemd-run")
def _systemd_run(machine: Machine, arguments: Sequence[str], now: float) -> Outcome:
    """A transient service: `--unit`, `-p RemainAfterExit=yes`, `-p StandardOutput=file:...`, `--wait`."""
    words, options = list(arguments), dict[str, str]()
    properties: list[str] = []
    while words and words[0].startswith("-"):
        key, equals, value = words.pop(0).partition("=")
        if key == "--":
            break
        if not equals and key in ("-p", "--property", "-u", "--unit", "-E", "--setenv", "--description"):
            value = words.pop(0)
        if key in ("-p", "--property"):
            properties.append(value)
        else:
            options[key] = value
    if not words:
        return Outcome(1, stderr=b"Command line to execute required.\n")
    name = _unit_name(options.get("--unit") or options.get("-u") or f"run-{len(machine.units)}")
    if name in machine.units:
        sentence = f"Failed to start transient service unit: Unit {name} was already loaded or has a fragment file.\n"
        return Outcome(1, stderr=sentence.encode())
    if "--wait" in options or "--pipe" in options:
        return run(machine, words, now)
    preview = run(copy.deepcopy(machine), words, now)
    kinds = dict(value.split("=", 1) for value in properties if "=" in value)
    kind, _, path = kinds.get("StandardOutput", "").partition(":")
    machine.units[name] = Unit(
        words,
        now + preview.seconds / speed(),
        output=path,
        appends=kind == "append",
        remains=kinds.get("RemainAfterExit") == "yes" or "--remain-after-exit" in options,
    )
    return Outcome(stderr=f"Running as unit: {name}\n".encode())


@program("systemctl")
def _systemctl(machine: Machine, arguments: Sequence[str], now: float) -> Outcome:
    verb, *rest = [word for word in arguments if not word.startswith("-") or word == "-p"] or [""]
    units = [_unit_name(word) for word in rest]
    if verb == "show":
        return _systemctl_show(machine, arguments)
    if verb in ("reboot", "poweroff"):
        return Outcome(reboots=verb == "reboot", powers_off=verb == "poweroff")
    if verb == "is-system-running":
        failed = any(_active_state(unit) == "failed" for unit in machine.units.values())
        return Outcome(int(failed), stdout=b"degraded\n" if failed else b"running\n")
    if verb == "is-active":
        states = [_active_state(machine.units.get(name)) for name in units]
        return Outcome(0 if "active" in states else 3, stdout="".join(f"{state}\n" for state in states).encode())
    if verb in ("stop", "reset-failed"):
        for name in units or list(machine.units):
            machine.units.pop(name, None)
        return Outcome()
    if "--failed" in arguments or "--state=failed" in arguments:
        failures = [name for name, unit in machine.units.items() if _active_state(unit) == "failed"]
        return Outcome(stdout="".join(f"{name} loaded failed failed {name}\n" for name in failures).encode())
    return Outcome(1, stderr=f"Unknown command verb {verb}.\n".encode())


def _systemctl_show(machine: Machine, arguments: Sequence[str]) -> Outcome:
    wanted: list[str] = []
    names: list[str] = []
    words = iter(arguments[1:] if arguments[0] == "show" else [word for word in arguments if word != "show"])
    for word in words:
        if word in ("-p", "--property"):
            wanted += next(words, "").split(",")
        elif word.startswith(("-p", "--property=")):
            wanted += word.removeprefix("--property=").removeprefix("-p").split(",")
        elif not word.startswith("-"):
            names.append(_unit_name(word))
    unit = machine.units.get(names[0]) if names else None
    facts = _facts(unit)
    bare = "--value" in arguments
    lines = [("" if bare else f"{name}=") + facts.get(name, "") + "\n" for name in wanted or facts]
    return Outcome(stdout="".join(lines).encode())


def _facts(unit: Unit | None) -> dict[str, str]:
    """The properties of a unit; one that is not there looks like one that never ran."""
    state = _active_state(unit)
    sub = {"activating": "start", "active": "exited" if unit and unit.done else "running", "failed": "failed"}
    code = unit.exit_code if unit is not None else 0
    return {
        "LoadState": "loaded" if unit is not None else "not-found",
        "ActiveState": state,
        "SubState": sub.get(state, "dead"),
        "Result": "exit-code" if code else "success",
        "ExecMainCode": "1" if unit is not None and unit.done else "0",
        "ExecMainStatus": str(code),
    }


def _active_state(unit: Unit | None) -> str:
    if unit is None:
        return "inactive"
    if not unit.done:
        return "active"
    return "failed" if unit.exit_code else "active"


def _unit_name(name: str) -> str:
    return name if "." in name else f"{name}.service"
