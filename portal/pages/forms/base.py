"""What all forms have in common: the look of their controls."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, cast

from django import forms
from django.db.models import QuerySet

_PLAIN = (forms.CheckboxInput, forms.CheckboxSelectMultiple, forms.RadioSelect, forms.HiddenInput)


class PortalForm(forms.Form):
    """A form with the portal's controls. `advanced` names the fields that are folded away."""

    advanced: ClassVar[tuple[str, ...]] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        for field in self.fields.values():
            widget = field.widget
            if isinstance(widget, forms.CheckboxInput):
                widget.attrs["class"] = "form-check-input"
            elif isinstance(widget, forms.Select) and not isinstance(widget, _PLAIN):
                widget.attrs["class"] = "form-select"
            elif not isinstance(widget, _PLAIN):
                widget.attrs["class"] = "form-control"

    def narrow(self, name: str, queryset: QuerySet[Any]) -> None:
        """Say which objects a field offers."""
        cast(forms.ModelChoiceField, self.fields[name]).queryset = queryset

    def offer(self, name: str, choices: Iterable[tuple[str, str]]) -> None:
        """Say which words a field offers."""
        cast(forms.ChoiceField, self.fields[name]).choices = list(choices)

    @property
    def plain_fields(self) -> list[forms.BoundField]:
        """Fields shown at once."""
        return [field for field in self.visible_fields() if field.name not in self.advanced]

    @property
    def advanced_fields(self) -> list[forms.BoundField]:
        """Fields that only a few need, folded away."""
        return [field for field in self.visible_fields() if field.name in self.advanced]
