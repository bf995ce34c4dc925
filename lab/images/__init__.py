"""Guest images, built once from the machine's own Debian packages and kept by their recipe's hash."""

from __future__ import annotations

from lab.images.cache import Image
from lab.images.kinds import prepare

__all__ = ["Image", "prepare"]
