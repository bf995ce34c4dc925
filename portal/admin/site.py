"""The auditors' site and the nouns on it."""

from __future__ import annotations

from access.models import AccessRequest, Grant, Membership, Role, Team, User
from audit.models import AuditEvent, AuditSeal
from inventory.models import VM, ApprovalRule, Cluster, Host, PlacementRule, SeenChange, Segment, Sighting, Snapshot
from jobs.models import Approval, BrokenGlass, Job, Step
from portal.admin import approvals, estate, people, record, work
from portal.admin.access_matrix import AccessMatrix
from portal.admin.base import AuditorsSite

auditors = AuditorsSite(name="auditors")
auditors.pages = [AccessMatrix(auditors)]

auditors.register(AuditEvent, record.AuditEvents)
auditors.register(AuditSeal, record.AuditSeals)
auditors.register(User, people.Users)
auditors.register(Team, people.Teams)
auditors.register(Membership, people.Memberships)
auditors.register(Role, people.Roles)
auditors.register(Grant, people.Grants)
auditors.register(Cluster, estate.Clusters)
auditors.register(Host, estate.Hosts)
auditors.register(PlacementRule, estate.PlacementRules)
auditors.register(Segment, estate.Segments)
auditors.register(VM, estate.VMs)
auditors.register(Snapshot, estate.Snapshots)
auditors.register(Sighting, estate.Sightings)
auditors.register(Job, work.Jobs)
auditors.register(Step, work.Steps)
auditors.register(AccessRequest, approvals.AccessRequests)
auditors.register(Approval, approvals.Approvals)
auditors.register(BrokenGlass, approvals.BrokenGlasses)
auditors.register(ApprovalRule, approvals.ApprovalRules)
auditors.register(SeenChange, estate.SeenChanges)
