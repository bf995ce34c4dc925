"""The domain XML of a guest; pure."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from lab import names
from lab.images.cache import Image
from lab.state import Guest

#: QEMU before 9.0 loses an emulated guest's memory writes during live migration unless each entry to
#: the guest's kernel flushes the TLB, which page table isolation does (fixed by QEMU's series
#: "physmem: dirty bitmap coherency with TCG", March 2024).
SAFE_MIGRATION = "pti=on"
#: On a busy machine an emulated timer is late at boot, which the kernel takes for a broken one and
#: panics: "IO-APIC + timer doesn't work" (seen; Documentation/admin-guide/kernel-parameters.txt).
LATE_TIMER = "no_timer_check"

_DESCRIPTIONS = {
    "debian": "Debian 12 with a guest agent and a package to patch",
    "tiny": "A kernel with busybox: boots in seconds, answers ping",
    "writer": "A tiny guest that dirties {size} MiB of memory at {rate} MiB/s",
}
_AGENT = """\
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
"""
_DOMAIN = """\
<domain type='qemu'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <title>{title}</title>
  <description>{description}</description>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{kernel}</kernel>
    <initrd>{initrd}</initrd>
    <cmdline>{cmdline}</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='custom' match='exact' check='none'><model fallback='allow'>qemu64</model></cpu>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='{cache}'/>
      <source file={disk}/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <interface type='bridge'>
      <mac address='{mac}'/>
      <source bridge='{bridge}'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'><log file={console} append='on'/></serial>
    <console type='pty'><target type='serial' port='0'/></console>
{agent}\
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def command_line(guest: Guest, image: Image, subnet: IPv4Network) -> str:
    """The guest's kernel command line: what its image needs, and who it is."""
    words = [
        image.cmdline,
        SAFE_MIGRATION,
        LATE_TIMER,
        f"lab.name={guest.name}",
        f"lab.address={guest.address}/{names.part(subnet, guest.segment).prefixlen}",
        f"lab.gateway={names.outer_address(subnet, guest.segment)}",
        f"lab.repository={names.outer_address(subnet, names.MANAGEMENT)}",
    ]
    if guest.kind == "writer":
        words += [f"lab.size={guest.size}", f"lab.rate={guest.rate}"]
    return " ".join(words)


def domain_xml(
    guest: Guest, image: Image, subnet: IPv4Network, *, disk: Path, console: Path, cache: str, bridge: str
) -> str:
    """The XML that defines a guest on any host of its lab."""
    mac = names.mac(IPv4Address(guest.address))
    return _DOMAIN.format(
        name=escape(guest.name),
        uuid=guest.uuid,
        title=escape(f"{guest.segment}: {guest.name} ({guest.kind})"),
        description=escape(_DESCRIPTIONS[guest.kind].format(size=guest.size, rate=guest.rate)),
        memory=guest.memory_mib,
        kernel=escape(str(image.kernel)),
        initrd=escape(str(image.initrd)),
        cmdline=escape(command_line(guest, image, subnet)),
        cache=cache,
        disk=quoteattr(str(disk)),
        mac=mac,
        bridge=bridge,
        console=quoteattr(str(console)),
        agent=_AGENT if guest.kind == "debian" else "",
    )
