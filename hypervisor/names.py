"""Names that the whole chain below Slipway carries unharmed: libvirt, its files, QEMU's monitor, qemu-img."""

from __future__ import annotations

#: libvirt keeps a snapshot's metadata in a file of its name plus ".xml"; file names end at 255 bytes.
MAX_SNAPSHOT_NAME_BYTES = 200


def snapshot_name_problem(name: str) -> str:
    """One sentence that says why a snapshot cannot be named so, "" if it can.

    Found by trial with libvirt 9.0 and QEMU 7.2: with a double quote or a backslash libvirt reports a snapshot of a
    running guest that is not in the image (reverting to it stops the guest for good), and `qemu-img` takes a name of
    digits for the number of a snapshot, so that going back to "1" goes to whichever was taken first.
    """
    if not name or not name.isprintable():
        return "A snapshot's name has at least one character, and only printable ones."
    if name.startswith((".", "-")) or name != name.strip():
        return "A snapshot's name does not begin with '.' or '-', nor begin or end with a space."
    if any(character in name for character in '/\\"'):
        return "A snapshot's name has no slash, backslash or double quote."
    if name.isdigit():
        return "A snapshot's name is not a number alone."
    if len(name.encode()) > MAX_SNAPSHOT_NAME_BYTES:
        return f"A snapshot's name has at most {MAX_SNAPSHOT_NAME_BYTES} bytes."
    return ""
