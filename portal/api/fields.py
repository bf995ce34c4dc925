"""Fields and serializers that every noun uses."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from access import gate
from access.actions import Action
from inventory.models import VM
from portal.api.filters import LARGEST_KEY, is_id
from portal.api.problems import NoSuchObject


class Body(serializers.Serializer):
    """A request's body: members that it does not know are refused."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                raise serializers.ValidationError({name[:60]: ["There is no such member."] for name in unknown})
        return super().to_internal_value(data)


class Reference(serializers.PrimaryKeyRelatedField):
    """An object by its id, if the caller sees it. Any other is answered as not existing: 404."""

    def to_internal_value(self, data: Any) -> Any:
        """Raises NoSuchObject, ValidationError."""
        found = self.find(data)
        if found is None or not gate.can(self.context["request"].user, Action.VIEW, found):
            raise NoSuchObject(_path(self), hidden=found)
        return found

    def find(self, data: Any) -> Any:
        """The object that is meant, seen or not. Raises ValidationError."""
        if isinstance(data, int) and not isinstance(data, bool):
            return self.queryset.filter(pk=data).first() if abs(data) <= LARGEST_KEY else None
        if isinstance(data, str) and is_id(data):
            return self.queryset.filter(pk=int(data)).first()
        raise serializers.ValidationError("An id is a whole number.")


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string", "format": "uuid"}]})
class VMReference(Reference):
    """A VM by its id or its UUID."""

    def find(self, data: Any) -> VM | None:
        """Raises ValidationError."""
        return super().find(data) if as_uuid(data) is None else vm_named(self.queryset, data)


def vm_named(queryset: Any, name: str) -> VM | None:
    """The VM of that id or UUID in a queryset."""
    return vms_named(queryset, name).first()


def vms_named(queryset: Any, name: str) -> Any:
    """A queryset narrowed to the VM of that id or UUID."""
    uuid = as_uuid(name)
    if uuid is not None:
        return queryset.filter(uuid=uuid)
    return queryset.filter(pk=int(name)) if is_id(name) else queryset.none()


def as_uuid(value: Any) -> UUID | None:
    """The UUID that a text is, written with hyphens; else None."""
    if not isinstance(value, str) or len(value) != 36:
        return None
    try:
        return UUID(value)
    except ValueError:
        return None


class NamedSerializer(serializers.Serializer):
    """An object in short."""

    id = serializers.IntegerField()
    name = serializers.CharField()


class PersonSerializer(serializers.Serializer):
    """A user in short."""

    id = serializers.IntegerField()
    username = serializers.CharField()


def _path(field: serializers.Field) -> str:
    """Where in the body a field is: `target.vm`."""
    names = []
    at: Any = field
    while at is not None and at.field_name:
        names.append(at.field_name)
        at = at.parent
    return ".".join(reversed(names))
