"""What all views of the API have in common."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, NoReturn, cast

from django.db.models import Model, QuerySet
from django.http import Http404
from django.urls import reverse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from access.actions import Action
from access.errors import NotVisible
from access.models import User
from access.standing import standing_of
from audit.context import acting_as
from portal.api.authentication import token_id
from portal.api.fields import Body
from portal.api.filters import LARGEST_KEY, StrictFilterBackend
from portal.declared import Declaration


class Acting(APIView):
    """A view of which everything recorded names the person, the API, and the token they came with.

    The middleware ran before the token was read; so the context is set here, once the caller is known, until the answer
    (refusals and their record included) is ready.
    """

    declared_action: Declaration
    # No OPTIONS: the schema describes every address.
    http_method_names = [method for method in APIView.http_method_names if method != "options"]

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        with ExitStack() as self._acting:
            return super().dispatch(request, *args, **kwargs)

    @property
    def caller(self) -> User:
        """Who calls; everybody else was turned away before the view's own code began."""
        return cast(User, self.request.user)

    def perform_authentication(self, request: Request) -> None:
        super().perform_authentication(request)
        facts = {"token_id": token_id(request.auth), "standing": standing_of(request.user)}
        self._acting.enter_context(acting_as(request.user, via="api", **facts))


class NounView(Acting, GenericViewSet):
    """A noun's addresses. Subclasses narrow their queryset by `visible_to` and call services."""

    filter_backends = [StrictFilterBackend]
    lookup_value_converter = "int"

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if any(isinstance(key, int) and key > LARGEST_KEY for key in kwargs.values()):
            raise Http404

    def describe(self, objects: list[Any]) -> None:
        """Look up, for all objects of an answer at once, what their serializer shows beyond their own row."""

    def get_queryset(self) -> Any:
        return super().get_queryset().visible_to(self.caller)

    def get_object(self) -> Any:
        try:
            found = super().get_object()
        except Http404:
            self.missing(self.queryset.model._default_manager.filter(pk=self.kwargs["pk"]))
        self.describe([found])
        return found

    def missing(self, unnarrowed: QuerySet[Any]) -> NoReturn:
        """Answer for an object that the caller does not see.

        Raises NotVisible for one that is there, so that the attempt is recorded, else Http404; both are answered alike.
        """
        hidden = unnarrowed.first()
        if hidden is not None:
            raise NotVisible(user=self.caller, action=Action.VIEW, target=hidden)
        raise Http404

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        if page is not None:
            self.describe(page)
        return page

    def body(self, kind: type[Body]) -> dict[str, Any]:
        """The request's body as `kind` reads it. Raises ValidationError, NoSuchObject."""
        serializer = kind(data=self.request.data, context=self.get_serializer_context())
        serializer.is_valid(raise_exception=True)
        return serializer.validated_data

    def created(self, made: Model, serializer: BaseSerializer[Any] | None = None, *, name: str = "") -> Response:
        """201 with the object and its address."""
        self.describe([made])
        shown = serializer or self.get_serializer(made)
        return Response(shown.data, status=201, headers=self.location(name, made.pk))

    def location(self, name: str, *keys: Any) -> dict[str, str]:
        """The `Location` header of an object."""
        return {"Location": self.request.build_absolute_uri(reverse(f"api:{name}-detail", args=keys))}
