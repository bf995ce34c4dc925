"""The garbage collector, told what a long-lived process knows about itself.

What was imported at the start stays for ever: looking through it again and again costs pauses of tens of milliseconds,
in the middle of requests and of jobs. So it is set apart, and the rest is looked through less often.
"""

from __future__ import annotations

import gc

#: New objects before the youngest generation is looked through; Python's default is 700, which one request exceeds
#: dozens of times.
NEW_OBJECTS = 50_000


def set_apart_what_stays() -> None:
    """Call once, when everything is imported and before work begins."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 20)
