"""The simulated Debian's shell: lists of simple commands, nothing more.

Understood: `;` and line breaks, `&&`, `||`, quotes, `$?`, assignments before a command, `>`, `>>`, `2>`, `2>&1`, and
`exit`, `set -e`, `cd`, `export`, `exec`. Anything else (pipes, `if`, substitutions) ends with status 2 and says so, so
that a script which the simulation cannot act out is noticed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypervisor.simulated_driver.machine import Machine, Outcome
from hypervisor.simulated_driver.programs import program, run

_SEPARATORS = (";", "&&", "||")
_REDIRECTIONS = (">", ">>", ">&")
_KEYWORDS = frozenset({"if", "for", "while", "until", "case", "{", "(", "!", "trap", "."})
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_STRANGE = re.compile(r"\$\(|`|\$\{")


class _NotModelled(Exception):
    """The script needs more than is understood here."""


@dataclass(slots=True)
class _Command:
    """A simple command: what joins it to the one before, its words, and where its output goes ("" as it is)."""

    joined_by: str
    words: list[str] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""
    appends: bool = False
    is_tested: bool = False  # by a following && or ||


@program("sh", "bash", "dash")
def _shell(machine: Machine, arguments: Sequence[str], now: float) -> Outcome:
    words = [word for word in arguments if word not in ("-e", "-u", "-eu", "-ec", "-c", "--")]
    exits = any(word in ("-e", "-eu", "-ec") for word in arguments)
    if not words:
        return Outcome()
    if "-c" in arguments or "-ec" in arguments:
        return _interpret(machine, words[0], now, exits_on_error=exits)
    script = machine.read(words[0])
    if script is None:
        return Outcome(127, stderr=f"sh: 0: cannot open {words[0]}: No such file\n".encode())
    return _interpret(machine, script.decode("utf-8", "replace"), now, exits_on_error=exits)


def _interpret(machine: Machine, script: str, now: float, *, exits_on_error: bool) -> Outcome:
    """Run a script to its end; output and time add up."""
    total = Outcome(seconds=0.0)
    try:
        commands = _parse(script)
    except (_NotModelled, ValueError) as error:
        return Outcome(2, stderr=f"sh: the simulated shell does not understand this: {error}\n".encode())
    for command in commands:
        if command.joined_by == "&&" and total.exit_code != 0:
            continue
        if command.joined_by == "||" and total.exit_code == 0:
            continue
        words = [word.replace("$?", str(total.exit_code)) for word in command.words]
        while words and _ASSIGNMENT.match(words[0]):
            words.pop(0)
        if words[:1] == ["exit"]:
            total.exit_code = int(words[1]) if len(words) > 1 else total.exit_code
            break
        if words[:2] == ["set", "-e"]:
            exits_on_error = True
        _add(machine, total, command, _run_words(machine, words, now + total.seconds))
        if exits_on_error and total.exit_code and not command.is_tested:
            break
    return total


def _run_words(machine: Machine, words: list[str], now: float) -> Outcome:
    if words[:1] == ["exec"]:
        words = words[1:]
    if not words or words[0] in ("set", "cd", "export", ":", "umask"):
        return Outcome(seconds=0.0)
    return run(machine, words, now)


def _add(machine: Machine, total: Outcome, command: _Command, outcome: Outcome) -> None:
    stdout, stderr = outcome.stdout, outcome.stderr
    if command.stderr == "&1":
        stdout, stderr = stdout + stderr, b""
    elif command.stderr:
        _redirect(machine, command.stderr, stderr, appends=False)
        stderr = b""
    if command.stdout:
        _redirect(machine, command.stdout, stdout, appends=command.appends)
        stdout = b""
    total.exit_code = outcome.exit_code
    total.stdout += stdout
    total.stderr += stderr
    total.seconds += outcome.seconds
    total.reboots = total.reboots or outcome.reboots
    total.powers_off = total.powers_off or outcome.powers_off
    total.restarts_agent = total.restarts_agent or outcome.restarts_agent


def _redirect(machine: Machine, path: str, content: bytes, *, appends: bool) -> None:
    if path != "/dev/null":
        machine.write(path, (machine.read(path) or b"") + content if appends else content)


def _parse(script: str) -> list[_Command]:
    lines = [line for line in script.replace("\\\n", " ").split("\n") if not line.lstrip().startswith("#")]
    if _STRANGE.search("\n".join(lines)):
        raise _NotModelled("a substitution")
    lexer = shlex.shlex(" ; ".join(lines), posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split = True
    lexer.commenters = ""
    commands = [_Command(";")]
    tokens = iter(list(lexer))
    for token in tokens:
        command = commands[-1]
        if token in _SEPARATORS or set(token) == {";"}:
            command.is_tested = token in ("&&", "||")
            commands.append(_Command(";" if token[0] == ";" else token))
        elif token in _REDIRECTIONS:
            _parse_redirection(command, token, next(tokens, ""))
        elif set(token) <= set("&|<>") or (not command.words and token in _KEYWORDS):
            raise _NotModelled(token)
        else:
            command.words.append(token)
    return [command for command in commands if command.words]


def _parse_redirection(command: _Command, sign: str, target: str) -> None:
    """`2>` comes as the word `2` and `>`; a `2` before a blank would too, which no script here has."""
    descriptor = command.words.pop() if command.words and command.words[-1] in ("1", "2") else "1"
    target = f"&{target}" if sign == ">&" else target
    if descriptor == "2":
        command.stderr = target
    else:
        command.stdout, command.appends = target, sign == ">>"
