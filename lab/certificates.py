"""Certificates of a lab with TLS: made when the lab is, kept with it, gone with it.

One authority signs a certificate for each host, which shows it to Slipway, to other hosts and, from inside QEMU, to
other QEMUs, as server and as client; and one for Slipway itself. The places and names are those that libvirt and QEMU
look for (libvirt: "TLS and X.509 certificates"; QEMU: `-object tls-creds-x509`).
"""

from __future__ import annotations

from pathlib import Path

from lab.shell import run

DAYS = "30"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

#: Where a host's files go, below its own /etc/pki: from the names they are made under.
PLACES = {
    "CA/cacert.pem": "ca.pem",
    "libvirt/servercert.pem": "cert.pem",
    "libvirt/private/serverkey.pem": "key.pem",
    "libvirt/clientcert.pem": "cert.pem",
    "libvirt/private/clientkey.pem": "key.pem",
    "qemu/ca-cert.pem": "ca.pem",
    "qemu/server-cert.pem": "cert.pem",
    "qemu/server-key.pem": "key.pem",
    "qemu/client-cert.pem": "cert.pem",
    "qemu/client-key.pem": "key.pem",
}
#: What a client of libvirt finds in the directory that its `pkipath` names.
CLIENT = {"cacert.pem": "ca.pem", "clientcert.pem": "cert.pem", "clientkey.pem": "key.pem"}


def make_authority(directory: Path) -> None:
    """Make the lab's authority, unless it is there."""
    if (directory / "ca.pem").exists():
        return
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    _openssl(
        "req", "-x509", *_KEY, "-subj", "/CN=Slipway lab", "-days", DAYS, "-addext", "keyUsage=critical,keyCertSign",
        "-keyout", directory / "ca.key", "-out", directory / "ca.new",
    )  # fmt: skip
    (directory / "ca.new").rename(directory / "ca.pem")


def give(authority: Path, places: dict[str, str], directory: Path, name: str, address: str = "") -> None:
    """Make a key and a certificate for one of these, and put them where they are looked for, unless they are there."""
    if all((directory / place).exists() for place in places):
        return
    own = authority / name
    own.mkdir(exist_ok=True, mode=0o700)
    (own / "ca.pem").write_bytes((authority / "ca.pem").read_bytes())
    _openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", own / "key.pem", "-out", own / "request.pem")
    names = f"DNS:{name}" + (f",IP:{address}" if address else "")
    (own / "extensions").write_text(
        f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature,keyEncipherment\n"
    )
    _openssl(
        "x509", "-req", "-in", own / "request.pem", "-CA", authority / "ca.pem", "-CAkey", authority / "ca.key",
        "-CAcreateserial", "-days", DAYS, "-extfile", own / "extensions", "-out", own / "cert.pem",
    )  # fmt: skip
    for place, source in places.items():
        (directory / place).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / place).write_bytes((own / source).read_bytes())
        (directory / place).chmod(0o600)


def _openssl(*words: str | Path) -> None:
    run("openssl", *words)
