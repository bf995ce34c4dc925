"""The auditors' site and the nouns on it."""

from __future__ import annotations

from access.models import Grant, Membership, Role, Team, User
from audit.models import AuditEvent, AuditSeal
from inventory.models import VM, Cluster, Host, Segment, Sighting, Snapshot
from jobs.models import Job, Step
from portal.admin import estate, people, record, work
from portal.admin.base import AuditorsSite

auditors = AuditorsSite(name="auditors")

auditors.register(AuditEvent, record.AuditEvents)
auditors.register(AuditSeal, record.AuditSeals)
auditors.register(User, people.Users)
auditors.register(Team, people.Teams)
auditors.register(Membership, people.Memberships)
auditors.register(Role, people.Roles)
auditors.register(Grant, people.Grants)
auditors.register(Cluster, estate.Clusters)
auditors.register(Host, estate.Hosts)
auditors.register(Segment, estate.Segments)
auditors.register(VM, estate.VMs)
auditors.register(Snapshot, estate.Snapshots)
auditors.register(Sighting, estate.Sightings)
auditors.register(Job, work.Jobs)
auditors.register(Step, work.Steps)
