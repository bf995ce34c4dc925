"""The addresses of the pages."""

from __future__ import annotations

from django.urls import path

from portal.pages import (
    approvals,
    dashboard,
    grants,
    health,
    hosts,
    jobs,
    my_access,
    operations,
    segments,
    sign_in,
    teams,
    vm_access,
    vm_segment,
    vms,
)

urlpatterns = [
    path("", dashboard.Dashboard.as_view(), name="dashboard"),
    path("working/", dashboard.WorkingNow.as_view(), name="working-now"),
    path("sign-in/", sign_in.SignIn.as_view(), name="sign-in"),
    path("sign-out/", sign_in.SignOut.as_view(), name="sign-out"),
    path("vms/", vms.VMList.as_view(), name="vm-list"),
    path("vms/<int:pk>/", vms.VMDetail.as_view(), name="vm-detail"),
    path("vms/<int:pk>/busy/", vms.VMBusy.as_view(), name="vm-busy"),
    path("vms/<int:pk>/snapshots/new/", operations.TakeSnapshot.as_view(), name="vm-snapshot"),
    path("vms/<int:pk>/snapshots/<int:snapshot>/revert/", operations.Revert.as_view(), name="vm-revert"),
    path(
        "vms/<int:pk>/snapshots/<int:snapshot>/delete/", operations.DeleteSnapshot.as_view(), name="vm-snapshot-delete"
    ),
    path("vms/<int:pk>/patch/", operations.PatchPage.as_view(), name="vm-patch"),
    path("vms/<int:pk>/migrate/", operations.MigratePage.as_view(), name="vm-migrate"),
    path("vms/<int:pk>/power/<slug:verb>/", operations.PowerPage.as_view(), name="vm-power"),
    path("vms/<int:pk>/segment/", vm_segment.AssignSegment.as_view(), name="vm-segment"),
    path("vms/<int:pk>/access/", vm_access.VMAccess.as_view(), name="vm-access"),
    path("jobs/", jobs.JobList.as_view(), name="job-list"),
    path("jobs/<uuid:pk>/", jobs.JobDetail.as_view(), name="job-detail"),
    path("jobs/<uuid:pk>/live/", jobs.JobLive.as_view(), name="job-live"),
    path("jobs/<uuid:pk>/cancel/", jobs.CancelJob.as_view(), name="job-cancel"),
    path("jobs/<uuid:pk>/approve/", approvals.ApproveJob.as_view(), name="job-approve"),
    path("jobs/<uuid:pk>/reject/", approvals.RejectJob.as_view(), name="job-reject"),
    path("approvals/", approvals.Approvals.as_view(), name="approvals"),
    path(
        "approvals/broken-glass/<int:pk>/acknowledge/",
        approvals.AcknowledgeBrokenGlass.as_view(),
        name="broken-glass-acknowledge",
    ),
    path("hosts/", hosts.HostList.as_view(), name="host-list"),
    path("hosts/new/", hosts.EnrolHost.as_view(), name="host-new"),
    path("hosts/<int:pk>/", hosts.HostDetail.as_view(), name="host-detail"),
    path("hosts/<int:pk>/read/", hosts.ReadHost.as_view(), name="host-read"),
    path("segments/", segments.SegmentList.as_view(), name="segment-list"),
    path("segments/<int:pk>/", segments.SegmentDetail.as_view(), name="segment-detail"),
    path("segments/<int:pk>/grants/new/", grants.GiveAccess.as_view(), name="segment-grant"),
    path("segments/<int:pk>/grants/<int:grant>/revoke/", grants.RevokeGrant.as_view(), name="segment-revoke"),
    path("segments/<int:pk>/approvals/", approvals.SegmentRules.as_view(), name="segment-approvals"),
    path("teams/", teams.TeamList.as_view(), name="team-list"),
    path("teams/<int:pk>/", teams.TeamDetail.as_view(), name="team-detail"),
    path("teams/<int:pk>/members/new/", teams.AddMember.as_view(), name="team-member-add"),
    path("teams/<int:pk>/members/<int:membership>/remove/", teams.RemoveMember.as_view(), name="team-member-remove"),
    path("access/", my_access.MyAccess.as_view(), name="my-access"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]
