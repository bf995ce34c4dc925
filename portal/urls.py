"""The map of addresses: includes only."""

from django.urls import include, path

from portal.admin.site import auditors

urlpatterns = [
    path("", include("portal.pages.urls")),
    path("api/v1/", include("portal.api.urls")),
    path("admin/", auditors.urls),
]
