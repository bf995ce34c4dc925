"""The entrance, the description of it all, and the answer to addresses that do not exist."""

from __future__ import annotations

from typing import Any

from django.views.generic import TemplateView
from drf_spectacular.renderers import OpenApiJsonRenderer2
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from portal.api.views import Acting
from portal.declared import SIGNED_IN

_ADDRESSES = {"type": "object", "additionalProperties": {"type": "string", "format": "uri"}}
_NOUNS = (
    "host", "cluster", "placement-rule", "vm", "segment", "team", "role", "grant", "access-request", "user", "job",
    "audit-event",
)  # fmt: skip


class RootView(Acting):
    declared_action = SIGNED_IN

    @extend_schema(
        summary="Where the nouns are", responses={200: {"type": "object", "additionalProperties": {"type": "string"}}}
    )
    def get(self, request: Request) -> Response:
        addresses = {f"{noun}s".replace("-", "_"): reverse(f"api:{noun}-list", request=request) for noun in _NOUNS}
        addresses |= {name: reverse(f"api:{name}", request=request) for name in ("me", "schema")}
        return Response(addresses)


class SchemaView(Acting, SpectacularAPIView):
    """The OpenAPI document, as JSON, for everybody who is signed in."""

    declared_action = SIGNED_IN
    renderer_classes = [OpenApiJsonRenderer2]


class DocsView(TemplateView):
    """The same for people: each address, to read and to try with the portal's own session."""

    declared_action = SIGNED_IN
    template_name = "api/docs.html"
    http_method_names = ["get", "head"]


class NowhereView(Acting):
    """Any other address under the API's: a problem document instead of a page."""

    declared_action = SIGNED_IN

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound("There is no such address; addresses of the API end with a slash.")
