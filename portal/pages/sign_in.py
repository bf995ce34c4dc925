"""Signing in and out. Each is recorded; what failed says nothing about which half was wrong."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

from audit.events import EventAction, Outcome
from audit.record import record, record_alone
from portal.declared import PUBLIC
from portal.pages.base import PageMixin

WRONG = "That user name and password do not go together."


class SignInForm(AuthenticationForm):
    """User name and password; one answer for a wrong name, a wrong password and a closed account."""

    error_messages = {"invalid_login": WRONG, "inactive": WRONG}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        self.fields["username"].label = "User name"
        for field in self.fields.values():
            field.widget.attrs["class"] = "form-control"


@method_decorator(login_not_required, name="dispatch")
class SignIn(PageMixin, LoginView):
    """The door. `next` is followed only within this site (Django checks it)."""

    declared_action = PUBLIC
    template_name = "sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.htmx:  # type: ignore[attr-defined]
            return HttpResponseClientRedirect(_back_to_this_page(request))
        return super().get(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user = form.get_user()
        with transaction.atomic():
            response = super().form_valid(form)
            record(EventAction.USER_SIGNED_IN, target=user, actor=user)
        return response

    def form_invalid(self, form: AuthenticationForm) -> HttpResponse:
        username = form.cleaned_data.get("username", "")
        if username and form.cleaned_data.get("password"):
            locked = bool(getattr(self.request, "axes_locked_out", False))
            detail = {"username": username[:150], "locked_out": locked}
            record_alone(EventAction.USER_SIGN_IN_FAILED, outcome=Outcome.FAILED, detail=detail)
        response = super().form_invalid(form)
        response.status_code = 400
        return response


class SignOut(LogoutView):
    """Leaves; by POST only, so that no image or link can sign anybody out."""

    declared_action = PUBLIC
    http_method_names = ["post"]

    @method_decorator(login_not_required)
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        return super().dispatch(request, *args, **kwargs)

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated:
            record_alone(EventAction.USER_SIGNED_OUT, target=request.user, actor=request.user)
        return super().post(request, *args, **kwargs)


def _back_to_this_page(request: HttpRequest) -> str:
    """Where a page goes whose session ended while htmx refreshed a part of it: to the door, and from there back."""
    current = request.headers.get("HX-Current-URL", "")
    hosts = {request.get_host()}
    if not url_has_allowed_host_and_scheme(current, allowed_hosts=hosts, require_https=request.is_secure()):
        return reverse("sign-in")
    parts = urlsplit(current)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return f"{reverse('sign-in')}?{urlencode({'next': path})}"
