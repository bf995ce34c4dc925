"""What apt and dpkg say, and what a hostile guest might say instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.operations.patch.apt import Change, UnreadableAnswer, apply_command, parse_installed, parse_plan
from jobs.operations.patch.health import ailments, differences

SIMULATION = """NOTE: This is only a simulation!
Reading package lists...
The following packages will be upgraded:
  libssl3 slipway-hello
Inst libssl3 [3.0.11-1~deb12u2] (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64]) []
Inst linux-image-6.1.0-40-cloud-amd64 (6.1.153-1 Debian:12.12/stable [amd64])
Inst libc6:amd64 [2.36-9+deb12u8] (2.36-9+deb12u9 Debian:12.12/stable [amd64]) [libc-bin:amd64 ]
Inst slipway-hello [1.0] (1.1 localhost [all])
Conf libssl3 (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64])
"""


def test_a_plan_is_read_exactly():
    plan = parse_plan(SIMULATION)
    assert [(c.package, c.old, c.new, c.is_security) for c in plan] == [
        ("libssl3", "3.0.11-1~deb12u2", "3.0.15-1~deb12u1", True),
        ("linux-image-6.1.0-40-cloud-amd64", "", "6.1.153-1", False),
        ("libc6", "2.36-9+deb12u8", "2.36-9+deb12u9", False),
        ("slipway-hello", "1.0", "1.1", False),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "Inst a; rm -rf / [1] (2 x [all])",
        "Inst -oDPkg::Pre-Invoke=evil [1] (2 x [all])",
        "Inst pkg [1] (--force x [all])" + "\x00",
        "Inst pkg [1]",
        "Remv slipway-hello [1.0]",
    ],
)
def test_a_line_that_apt_would_not_say_stops_the_patch(line):
    with pytest.raises(UnreadableAnswer):
        parse_plan(line)


@given(st.text(max_size=300))
def test_whatever_a_guest_says_never_becomes_an_option(text):
    """Each planned package ends as one `name=version` word that begins with a letter or digit."""
    try:
        plan = parse_plan("Inst " + text)
    except UnreadableAnswer:
        return
    words = apply_command(plan)[-len(plan) :] if plan else ()
    assert all(word[0].isalnum() and word[0] != "-" and " " not in word for word in words)


def test_the_command_installs_the_plan_and_nothing_else():
    command = apply_command([Change("slipway-hello", "1.0", "1.1", "localhost")])
    assert command[-2:] == ("install", "slipway-hello=1.1")
    assert "--no-remove" in command


def test_removed_packages_do_not_count_as_installed():
    listing = "bash\t5.2.15-2+b7\tii \nold-thing\t1.0\trc \nhalf\t2.0\tiF \n"
    assert parse_installed(listing) == {"bash": "5.2.15-2+b7", "half": "2.0"}
    with pytest.raises(UnreadableAnswer):
        parse_installed("bash 5.2\n")


PLAN = [Change("a", "1", "2", "here")]


def check(**changes):
    facts = {
        "plan": PLAN, "packages": {"a": "2"}, "half_configured": "", "failed_before": {"old.service"},
        "failed_now": {"old.service"}, "own_unit": "slipway-patch-1.service",
    }  # fmt: skip
    return ailments(**facts | changes)


def test_a_guest_as_well_as_before_has_no_ailments():
    assert check() == []
    assert check(failed_now={"slipway-patch-1.service"}) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"packages": {"a": "1"}}, "planned"),
        ({"packages": {}}, "no version"),
        ({"failed_now": {"old.service", "web.service"}}, "web.service"),
        ({"half_configured": "The following packages are only half configured"}, "half-way"),
    ],
)
def test_each_ailment_is_named(change, word):
    assert len(check(**change)) == 1
    assert word in check(**change)[0]


def test_differences_name_what_came_went_and_changed():
    assert differences({"a": "1", "b": "1", "c": "1"}, {"a": "2", "b": "1", "d": "1"}) == [
        {"package": "a", "old": "1", "new": "2"},
        {"package": "c", "old": "1", "new": ""},
        {"package": "d", "old": "", "new": "1"},
    ]
