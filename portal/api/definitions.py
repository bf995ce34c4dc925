"""The definition that a VM's host keeps, beside the approved one."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.mixins import RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from access.actions import Action
from inventory.approved import definition_approve, difference
from inventory.models import VM, Definition
from portal.api.fields import Body, PersonSerializer, vm_named, vms_named
from portal.api.views import NounView


class DefinitionSerializer(serializers.ModelSerializer):
    approved_by = PersonSerializer(allow_null=True, help_text="Null for what was there first, or a job brought about.")
    digest = serializers.CharField(help_text="Identifies the definition as it was last read.")
    difference = serializers.SerializerMethodField(
        help_text="Lines that lead from the approved definition to the one there is, as a unified diff."
    )

    class Meta:
        model = Definition
        fields = ["differs", "read_at", "digest", "approved_at", "approved_by", "approved_because", "difference"]
        read_only_fields = fields

    def get_difference(self, definition: Definition) -> list[str]:
        return difference(definition) if definition.differs else []


class DefinitionApproval(Body):
    seen = serializers.CharField(max_length=64, help_text="The digest of what was looked at.")
    reason = serializers.CharField(max_length=500, default="", allow_blank=True)


class DefinitionView(RetrieveModelMixin, NounView):
    """One of each VM. To bring the approved one back is a job, `vm.restore_definition`."""

    declared_action = Action.VIEW
    queryset = VM.objects.all()
    serializer_class = DefinitionSerializer

    def get_object(self) -> Definition:
        vm = vm_named(self.get_queryset(), self.kwargs["vm"])
        if vm is None:
            self.missing(vms_named(VM.objects.all(), self.kwargs["vm"]))
        found = Definition.objects.select_related("vm", "approved_by").filter(vm=vm).first()
        if found is None:
            raise Http404
        return found

    @extend_schema(summary="A VM's definition, and how it differs from the approved one")
    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().retrieve(request, *args, **kwargs)

    @extend_schema(
        summary="Approve a VM's definition as it is",
        request=DefinitionApproval,
        responses={200: DefinitionSerializer},
    )
    def approve(self, request: Request, vm: str) -> Response:
        definition_approve(actor=self.caller, vm=self.get_object().vm, **self.body(DefinitionApproval))
        return Response(self.get_serializer(self.get_object()).data)
