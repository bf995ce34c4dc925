"""The nouns of the estate."""

from inventory.models.changes import Alarm, SeenChange
from inventory.models.definitions import Definition
from inventory.models.hosts import Cluster, Host
from inventory.models.leftovers import Leftover
from inventory.models.loads import Load
from inventory.models.paths import HostPair
from inventory.models.placement import PlacementRule
from inventory.models.policies import BaselinePolicy, MigrationPolicy
from inventory.models.segments import ApprovalRule, Segment, SegmentNetwork
from inventory.models.sightings import Sighting
from inventory.models.snapshots import Snapshot
from inventory.models.vms import NIC, VM

__all__ = [
    "NIC",
    "VM",
    "Alarm",
    "ApprovalRule",
    "BaselinePolicy",
    "Cluster",
    "Definition",
    "Host",
    "HostPair",
    "Leftover",
    "Load",
    "MigrationPolicy",
    "PlacementRule",
    "SeenChange",
    "Segment",
    "SegmentNetwork",
    "Sighting",
    "Snapshot",
]
