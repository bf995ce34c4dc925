"""The ASGI entry point: the only way the portal is served."""

import os

from django.core.asgi import get_asgi_application
from django.urls import get_resolver

from portal.collector import set_apart_what_stays

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")
application = get_asgi_application()
_ = get_resolver().url_patterns  # imports every view now, not in the first request
set_apart_what_stays()
