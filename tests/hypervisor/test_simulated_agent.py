"""The small Debian inside simulated guests: packages, units, the shell, and what reboots and reverts do to them."""

from __future__ import annotations

import pytest

from hypervisor.errors import AgentUnavailable
from hypervisor.protocol import Hypervisor
from hypervisor.simulated_driver import estate
from hypervisor.simulated_driver.machine import BOOT_ID_PATH, REBOOT_REQUIRED, Upgrade
from hypervisor.types import ExecResult
from tests.hypervisor.simulated import GUEST, TwoHosts, eventually

APT = ["/usr/bin/env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-o", "DPkg::Lock::Timeout=600"]


class TestDebian(TwoHosts):
    speed = "50"

    def run(self, host: Hypervisor, *argv: str) -> ExecResult:
        return host.agent_exec(GUEST, argv)

    def versions(self, host: Hypervisor) -> dict[str, str]:
        listed = self.run(host, "dpkg-query", "-W", "-f=${Package}=${Version} ${db:Status-Abbrev}\\n").stdout.decode()
        return dict(line.split("=", 1) for line in listed.splitlines())

    def test_upgrades_are_seen_after_an_update_and_installed(self, one: Hypervisor) -> None:
        assert b"Inst" not in self.run(one, "apt-get", "-s", "dist-upgrade").stdout
        assert self.run(one, *APT, "update").exit_code == 0
        planned = self.run(one, "apt-get", "-s", "-o", "Debug::NoLocking=1", "dist-upgrade").stdout.decode()
        assert (
            "Inst libssl3 [3.0.11-1~deb12u2] (3.0.13-1~deb12u1 Debian-Security:12/stable-security [amd64])" in planned
        )
        assert "Inst tzdata [2024a-0+deb12u1] (2024b-0+deb12u1 Debian:12.6/stable [amd64])" in planned
        done = self.run(one, *APT, "install", "--only-upgrade", "libssl3=3.0.13-1~deb12u1")
        assert done.exit_code == 0
        assert self.versions(one)["libssl3"] == "3.0.13-1~deb12u1 ii "
        assert self.versions(one)["tzdata"] == "2024a-0+deb12u1 ii "
        left = self.run(one, "apt-get", "-s", "dist-upgrade").stdout
        assert b"libssl3" not in left
        assert b"tzdata" in left

    def test_a_kernel_wants_a_reboot_and_gets_it(self, one: Hypervisor) -> None:
        self.run(one, *APT, "update")
        self.run(one, *APT, "dist-upgrade")
        assert b"restart required" in one.agent_read_file(GUEST, REBOOT_REQUIRED)
        assert b"KSTA: 3" in self.run(one, "needrestart", "-b").stdout
        before = one.agent_read_file(GUEST, BOOT_ID_PATH), self.run(one, "uname", "-r").stdout
        one.reboot(GUEST)

        def booted_anew() -> bool:
            try:
                return one.agent_read_file(GUEST, BOOT_ID_PATH) != before[0]
            except AgentUnavailable:
                return False

        eventually(booted_anew)
        assert self.run(one, "uname", "-r").stdout == b"6.1.90-cloud-amd64\n" != before[1]
        assert self.run(one, "test", "-e", REBOOT_REQUIRED).exit_code == 1
        assert b"KSTA: 1" in self.run(one, "needrestart", "-b").stdout

    def test_a_broken_package_is_left_half_configured(self, one: Hypervisor) -> None:
        estate.offer_upgrade(GUEST, "bash", Upgrade("5.3-1", broken=True))
        self.run(one, *APT, "update")
        failed = self.run(one, *APT, "install", "--only-upgrade", "bash=5.3-1")
        assert failed.exit_code == 100
        assert b"post-installation script subprocess returned error" in failed.stderr
        assert self.versions(one)["bash"] == "5.3-1 iF "
        assert b" bash\n" in self.run(one, "dpkg", "--audit").stdout
        assert self.run(one, "dpkg", "--configure", "-a").exit_code == 1

    def test_a_revert_mends_it(self, one: Hypervisor) -> None:
        estate.offer_upgrade(GUEST, "bash", Upgrade("5.3-1", broken=True))
        one.snapshot_create(GUEST, "before", "")
        self.run(one, *APT, "update")
        self.run(one, *APT, "dist-upgrade")
        assert self.versions(one)["bash"] == "5.3-1 iF "
        one.snapshot_revert(GUEST, "before")
        assert self.versions(one)["bash"] == "5.2.15-2+b2 ii "
        assert self.run(one, "dpkg", "--audit").stdout == b""

    def test_a_held_package_stays(self, one: Hypervisor) -> None:
        self.run(one, "apt-mark", "hold", "tzdata")
        self.run(one, *APT, "update")
        assert b"tzdata" not in self.run(one, "apt-get", "-s", "dist-upgrade").stdout
        assert self.run(one, "apt-mark", "showhold").stdout == b"tzdata\n"

    @pytest.mark.parametrize("word", ["no-such-package", "bash=99"])
    def test_what_the_repository_has_not_is_refused(self, one: Hypervisor, word: str) -> None:
        self.run(one, *APT, "update")
        assert self.run(one, *APT, "install", word).exit_code == 100

    def test_upgrading_the_agent_as_its_child_kills_the_child(self, one: Hypervisor) -> None:
        estate.offer_upgrade(GUEST, "qemu-guest-agent", Upgrade("1:7.2+dfsg-7+deb12u6"))
        self.run(one, *APT, "update")
        with pytest.raises(AgentUnavailable):
            self.run(one, *APT, "install", "qemu-guest-agent")
        eventually(lambda: one.guest_definition(GUEST).agent_connected)

    def test_a_unit_does_its_work_without_the_agent(self, one: Hypervisor, two: Hypervisor) -> None:
        self.run(one, *APT, "update")
        options = ["--unit=slipway-1", "-p", "RemainAfterExit=yes", "-p", "StandardOutput=file:/var/log/slipway-1"]
        script = "apt-get -y dist-upgrade; echo $? > /root/rc.tmp && mv /root/rc.tmp /root/rc"
        started = self.run(one, "systemd-run", *options, "/bin/sh", "-c", script)
        assert started.exit_code == 0
        again = self.run(one, "systemd-run", *options, "/bin/true")
        assert again.exit_code == 1
        assert b"already" in again.stderr

        def finished() -> bool:
            shown = self.run(one, "systemctl", "show", "slipway-1", "-p", "ActiveState,SubState,ExecMainStatus")
            return b"SubState=exited" in shown.stdout

        eventually(finished)
        assert one.agent_read_file(GUEST, "/root/rc") == b"0\n"
        assert b"Setting up libssl3" in one.agent_read_file(GUEST, "/var/log/slipway-1")
        assert self.versions(one)["libssl3"].startswith("3.0.13")
        assert self.run(one, "systemctl", "is-system-running").stdout == b"running\n"

    def test_a_failed_unit_shows(self, one: Hypervisor) -> None:
        self.run(one, "systemd-run", "--unit=bad", "/bin/false")
        eventually(lambda: self.run(one, "systemctl", "is-system-running").stdout == b"degraded\n")
        shown = self.run(one, "systemctl", "show", "bad.service", "--property=Result,ExecMainStatus").stdout
        assert shown == b"Result=exit-code\nExecMainStatus=1\n"
        assert self.run(one, "systemctl", "list-units", "--failed", "--plain").stdout.startswith(b"bad.service")

    def test_power_lost_in_an_upgrade_leaves_dpkg_interrupted(
        self, one: Hypervisor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.run(one, *APT, "update")
        monkeypatch.setenv("SLIPWAY_SIM_SPEED", "1")
        self.run(one, "systemd-run", "--unit=up", "apt-get", "-y", "dist-upgrade")
        one.force_off(GUEST)
        monkeypatch.setenv("SLIPWAY_SIM_SPEED", "50")
        one.start(GUEST)
        eventually(lambda: one.guest_definition(GUEST).agent_connected)
        assert b"dpkg was interrupted" in self.run(one, *APT, "dist-upgrade").stderr
        assert self.run(one, "dpkg", "--configure", "-a").exit_code == 0
        assert self.run(one, *APT, "dist-upgrade").exit_code == 0

    @pytest.mark.parametrize(
        ("script", "code", "stdout"),
        [
            ("true && echo a || echo b; false && echo c", 1, b"a\n"),
            ("false || echo 'x  y'; exit 3; echo never", 3, b"x  y\n"),
            ("echo one > /root/f; echo two >> /root/f; cat /root/f", 0, b"one\ntwo\n"),
            ("cat /none 2>/dev/null; echo $?", 0, b"1\n"),
            ("cat /none 2>&1 > /root/x\nLC_ALL=C echo done", 0, b"done\n"),
            ("set -e\nfalse\necho never", 1, b""),
            ("nonsuch", 127, b""),
            ("echo $(id)", 2, b""),
            ("if true; then echo; fi", 2, b""),
            ("echo a | cat", 2, b""),
        ],
    )
    def test_the_shell(self, one: Hypervisor, script: str, code: int, stdout: bytes) -> None:
        result = self.run(one, "/bin/sh", "-c", script)
        assert (result.exit_code, result.stdout) == (code, stdout)

    @pytest.mark.parametrize(
        "line",
        [
            "sleep",
            "test",
            "mv a",
            "systemd-run --unit",
            "systemd-run",
            "dpkg-query -f",
            "apt-mark",
            "apt-get",
            "apt-mark hold x",
        ],
    )
    def test_arguments_that_a_program_cannot_do_with(self, one: Hypervisor, line: str) -> None:
        assert self.run(one, *line.split()).exit_code != 0

    def test_a_script_in_a_file(self, one: Hypervisor) -> None:
        one.agent_write_file(GUEST, "/root/go.sh", b"#!/bin/sh\n# a comment; with signs $(\necho went\n")
        assert self.run(one, "/bin/sh", "/root/go.sh").stdout == b"went\n"

    def test_a_reply_is_written_for_a_test(self, one: Hypervisor) -> None:
        estate.script_reply("rpm -qa*", stdout=b"kernel-5.14\n", exit_code=0)
        estate.script_reply("rpm -qa --last", uuid=GUEST, exit_code=7)
        assert self.run(one, "rpm", "-qa", "--queryformat", "x").stdout == b"kernel-5.14\n"
        assert self.run(one, "rpm", "-qa", "--last").exit_code == 7
