"""Balancing and placement: which VM should go to which host, in what order, and why. Pure: arrays in, a plan out.

`plan()` in `planner.py` is the way in; `Estate` (`estate.py`) is what it is told, `Policy` (`policy.py`) how it is to
decide, `Plan` (`answer.py`) what it says. Nothing here knows Django, the database or a hypervisor.
"""
