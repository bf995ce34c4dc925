"""The nouns of the estate."""

from inventory.models.changes import SeenChange
from inventory.models.hosts import Cluster, Host
from inventory.models.segments import Segment, SegmentNetwork
from inventory.models.sightings import Sighting
from inventory.models.snapshots import Snapshot
from inventory.models.vms import NIC, VM

__all__ = ["NIC", "VM", "Cluster", "Host", "SeenChange", "Segment", "SegmentNetwork", "Sighting", "Snapshot"]
