"""XML in and out, with an XML API only: what a host sends is parsed without DTDs, what we send is escaped.

A domain's names and descriptions are written by whoever may define domains, so they are hostile here. A DOCTYPE is
the only way to entities, external files and exponential expansion, and libvirt never sends one: it is refused.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from xml.etree.ElementTree import Element

from hypervisor.errors import HypervisorError

#: libvirt's RPC carries strings of at most 4 MiB (REMOTE_STRING_MAX); a local driver may send more, no sane one does.
MAX_CHARACTERS = 8 * 1024 * 1024

# What XML 1.0 cannot hold ("Characters", production [2]), and the carriage return, which no parser gives back.
_NOT_XML = re.compile(r"[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _NoDoctype(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse the document: called by the parser at a DOCTYPE."""
        raise HypervisorError("The XML has a document type declaration; it is refused.")


def parse(text: str) -> Element:
    """Parse a document. Raises HypervisorError when it is too large, malformed or has a DOCTYPE."""
    if len(text) > MAX_CHARACTERS:
        raise HypervisorError("The XML is too large.")
    try:
        return ET.fromstring(text, parser=ET.XMLParser(target=_NoDoctype()))  # noqa: S314 - no DOCTYPE passes
    except (ET.ParseError, ValueError) as error:
        raise HypervisorError(f"The XML cannot be read: {error}.") from error


def lines_of(text: str) -> list[str]:
    """The document in its canonical form (C14N 2.0), one element a line: equal lines, equal content. What carries no
    meaning (layout, prefixes of namespaces, the order of attributes) is out. Raises HypervisorError.
    """
    root = parse(text)
    for element in root.iter():
        element.text, element.tail = (element.text or "").strip() or None, None
    try:
        ET.indent(root)
        return ET.canonicalize(write(root)).splitlines()
    except RecursionError as error:
        raise HypervisorError("The XML is nested too deeply.") from error


def write(root: Element) -> str:
    """The document as text, escaped."""
    return ET.tostring(root, encoding="unicode")


def can_hold(text: str) -> bool:
    """Whether XML carries this text there and back unchanged."""
    return _NOT_XML.search(text) is None


def text_of(root: Element, path: str, default: str = "") -> str:
    """Text of the first element at `path`, `default` if there is none."""
    found = root.findtext(path)
    return default if found is None else found


def attribute_of(root: Element, path: str, name: str, default: str = "") -> str:
    """Attribute `name` of the first element at `path`, `default` if there is none."""
    found = root.find(path)
    return default if found is None else found.get(name, default)


def whole_number(text: str | None, default: int = 0) -> int:
    """A decimal number out of XML; `default` when it is none (a hostile or a broken document)."""
    try:
        return int(text) if text is not None and len(text) < 20 else default
    except ValueError:
        return default
