"""Members of a team."""

from __future__ import annotations

from django import forms

from access.models import User
from portal.pages.forms.base import PortalForm


class MemberForm(PortalForm):
    """A person by user name; whole names only, so that nobody can be looked up."""

    username = forms.CharField(
        label="User name",
        max_length=150,
        widget=forms.TextInput(attrs={"autocapitalize": "none", "autocomplete": "off"}),
    )

    def clean_username(self) -> User:
        """The account. Not narrowed to what the user sees: a lead adds people who are in no team of theirs yet."""
        person = User.objects.filter(username=self.cleaned_data["username"], is_active=True).first()
        if person is None:
            raise forms.ValidationError("There is no open account of that name.")
        return person
