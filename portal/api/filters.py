"""Narrowing and ordering lists. A parameter that does not exist is refused: a typing error must not widen a list."""

from __future__ import annotations

from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

#: The largest key that a table can have; databases refuse to look for a larger one.
LARGEST_KEY = 2**63 - 1
_PAGING = {"page", "page_size"}


class StrictFilterBackend(DjangoFilterBackend):
    """The view's `filterset_class`, and nothing else."""

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: Any) -> QuerySet[Any]:
        """Raises ValidationError naming each parameter that is not known or not valid."""
        filters = getattr(view, "filterset_class", None)
        known = _PAGING | (set(filters.base_filters) if filters else set())
        unknown = sorted(set(request.query_params) - known)
        if unknown:
            raise ValidationError({name[:60]: "There is no such parameter." for name in unknown})
        return super().filter_queryset(request, queryset, view)


class Ordering(django_filters.OrderingFilter):
    """`?ordering=name,-observed_at`. Equal rows are told apart by their key, so that pages never overlap."""

    def filter(self, qs: QuerySet[Any], value: Any) -> QuerySet[Any]:
        ordered = super().filter(qs, value)
        return ordered.order_by(*ordered.query.order_by, "pk") if value else ordered


class KeyFilter(django_filters.NumberFilter):
    """An object's id."""

    field_class = forms.IntegerField

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0, max_value=LARGEST_KEY, **options)


def seen_by(request: Any, queryset: Any, reference: str) -> QuerySet[Any]:
    """Objects that the caller sees, narrowed to an id or a name: filtering must not tell where hidden things are."""
    visible: QuerySet[Any] = queryset.visible_to(request.user)
    return visible.filter(pk=int(reference)) if is_id(reference) else visible.filter(name=reference)


def is_id(text: str) -> bool:
    """Whether a text is a whole number of a length that a key can have."""
    return text.isascii() and text.isdigit() and len(text) < 19
