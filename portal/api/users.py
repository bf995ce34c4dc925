"""Users: accounts, and closing them."""

from __future__ import annotations

import django_filters
from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.models import User
from access.services.people import user_create, user_deactivate
from portal.api.fields import Body
from portal.api.filters import Ordering
from portal.api.views import NounView
from portal.declared import SIGNED_IN


class UserSerializer(serializers.ModelSerializer):
    full_name = serializers.CharField(source="get_full_name")

    class Meta:
        model = User
        fields = ["id", "username", "full_name", "is_active"]
        read_only_fields = fields


class UserRequest(Body):
    username = serializers.CharField(max_length=150)
    password = serializers.CharField(max_length=200, trim_whitespace=False)
    full_name = serializers.CharField(max_length=301, default="", allow_blank=True)
    email = serializers.EmailField(default="", allow_blank=True)


class OnlyFalse(serializers.BooleanField):
    """An account is closed here, never opened again."""

    def to_internal_value(self, data: object) -> bool:
        if data is not False:
            raise serializers.ValidationError("Only false: an account is closed here, not opened again.")
        return False


class UserChange(Body):
    is_active = OnlyFalse()
    reason = serializers.CharField(max_length=500, default="", allow_blank=True)


class UserFilters(django_filters.FilterSet):
    search = django_filters.CharFilter(method="matching", label="Part of the user name or the full name.")
    is_active = django_filters.BooleanFilter()
    ordering = Ordering(fields=["username", "last_name"])

    def matching(self, queryset: QuerySet[User], name: str, value: str) -> QuerySet[User]:
        return queryset.filter(
            Q(username__icontains=value) | Q(first_name__icontains=value) | Q(last_name__icontains=value)
        )


@extend_schema_view(
    list=extend_schema(summary="List the users that the caller sees"), retrieve=extend_schema(summary="One user")
)
class UserView(ListModelMixin, RetrieveModelMixin, NounView):
    declared_action = SIGNED_IN
    queryset = User.objects.all()
    serializer_class = UserSerializer
    filterset_class = UserFilters

    @extend_schema(
        summary="Create an account that holds nothing yet", request=UserRequest, responses={201: UserSerializer}
    )
    def create(self, request: Request) -> Response:
        user = user_create(actor=self.caller, **self.body(UserRequest))
        return self.created(user, name="user")

    @extend_schema(summary="Close an account", request=UserChange, responses=UserSerializer)
    def partial_update(self, request: Request, pk: int) -> Response:
        asked = self.body(UserChange)
        user = self.get_object()
        user_deactivate(actor=self.caller, user=user, reason=asked["reason"])
        return Response(self.get_serializer(user).data)
