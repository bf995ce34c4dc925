"""The record: who did what to what, when, from where, why and how it ended; append-only, and sealed into a keyed chain.

`record()` writes an event in the transaction of the change it tells of, `record_alone()` one that stands by itself. The
sealer, a process of its own that alone holds the key, numbers and chains the events; `verify()` recomputes the chain
from every stored column and compares it with the anchors kept outside the database. See docs/audit.md.
"""
