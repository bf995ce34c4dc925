"""Serves one directory: `python3 -m lab.webserver ADDRESS PORT DIRECTORY`."""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


def main(address: str, port: str, directory: str) -> None:
    """Serve until killed; requests are logged on stderr."""
    handler = partial(SimpleHTTPRequestHandler, directory=directory)
    ThreadingHTTPServer((address, int(port)), handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
