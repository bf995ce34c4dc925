"""The API's addresses."""

from __future__ import annotations

from django.urls import path, re_path
from rest_framework.routers import SimpleRouter

from portal.api.access import ExplainView, PreviewView
from portal.api.access_requests import AccessRequestView
from portal.api.audit_events import AuditEventView
from portal.api.broken_glass import BrokenGlassView
from portal.api.clusters import ClusterView
from portal.api.consoles import ConsoleView
from portal.api.definitions import DefinitionView
from portal.api.grants import GrantView
from portal.api.holds import HoldView
from portal.api.hosts import HostView
from portal.api.jobs import JobView
from portal.api.me import MeView
from portal.api.outside_changes import OutsideChangesView
from portal.api.placement_rules import PlacementRuleView
from portal.api.roles import RoleView
from portal.api.root import DocsView, NowhereView, RootView, SchemaView
from portal.api.segments import SegmentView
from portal.api.snapshots import SnapshotView
from portal.api.teams import MemberView, TeamView
from portal.api.users import UserView
from portal.api.vms import VMView

app_name = "api"

_router = SimpleRouter(use_regex_path=False)
_router.register("hosts", HostView, "host")
_router.register("clusters", ClusterView, "cluster")
_router.register("placement-rules", PlacementRuleView, "placement-rule")
_router.register("vms", VMView, "vm")
_router.register("segments", SegmentView, "segment")
_router.register("teams", TeamView, "team")
_router.register("roles", RoleView, "role")
_router.register("grants", GrantView, "grant")
_router.register("access-requests", AccessRequestView, "access-request")
_router.register("users", UserView, "user")
_router.register("jobs", JobView, "job")
_router.register("broken-glass", BrokenGlassView, "broken-glass")
_router.register("audit-events", AuditEventView, "audit-event")
_router.register("holds", HoldView, "hold")

urlpatterns = [
    path("", RootView.as_view(), name="root"),
    *_router.urls,
    path("vms/<slug:vm>/snapshots/", SnapshotView.as_view({"get": "list"}), name="vm-snapshots"),
    path(
        "vms/<slug:vm>/snapshots/<int:snapshot>/expiry/",
        SnapshotView.as_view({"put": "expiry"}),
        name="vm-snapshot-expiry",
    ),
    path("vms/<slug:vm>/changes/", OutsideChangesView.as_view({"get": "list"}), name="vm-changes"),
    path(
        "vms/<slug:vm>/changes/acknowledge/",
        OutsideChangesView.as_view({"post": "acknowledge"}),
        name="vm-changes-acknowledge",
    ),
    path("vms/<slug:vm>/definition/", DefinitionView.as_view({"get": "retrieve"}), name="vm-definition"),
    path(
        "vms/<slug:vm>/definition/approve/", DefinitionView.as_view({"post": "approve"}), name="vm-definition-approve"
    ),
    path("vms/<slug:vm>/consoles/", ConsoleView.as_view({"post": "ask"}), name="vm-consoles"),
    path("teams/<int:team>/members/", MemberView.as_view({"get": "list", "post": "create"}), name="team-members"),
    path("teams/<int:team>/members/<int:user>/", MemberView.as_view({"delete": "destroy"}), name="team-member"),
    path("access/explain/", ExplainView.as_view(), name="access-explain"),
    path("access/preview/", PreviewView.as_view(), name="access-preview"),
    path("me/", MeView.as_view(), name="me"),
    path("schema/", SchemaView.as_view(), name="schema"),
    path("docs/", DocsView.as_view(), name="docs"),
    re_path(r".*", NowhereView.as_view(), name="nowhere"),
]
