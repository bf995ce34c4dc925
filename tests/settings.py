"""The settings that tests run with: those of an installation, in a data directory that is removed afterwards.

What is set in the environment wins (`SLIPWAY_DATABASE_URL`, `SLIPWAY_BROKER_URL`, `SLIPWAY_DATA_DIR`), so that the same
tests run against PostgreSQL and Redis, and a process that a test starts shares its parent's directory.
"""

import atexit
import os
import shutil
import tempfile

if "SLIPWAY_DATA_DIR" not in os.environ:
    os.environ["SLIPWAY_DATA_DIR"] = tempfile.mkdtemp(prefix="slipway-tests-")
    atexit.register(shutil.rmtree, os.environ["SLIPWAY_DATA_DIR"], ignore_errors=True)
os.environ.setdefault("SLIPWAY_BROKER_URL", "memory://")
os.environ.setdefault("SLIPWAY_HOST_SCHEMES", "sim")

from portal.settings import *  # noqa: F403
from portal.settings import DATA_DIR, DATABASES, STORAGES

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file: threads and processes then meet on the same locks as in an installation.
    DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
# Without the manifest, which only an installation has collected.
(DATA_DIR / "static").mkdir(exist_ok=True)
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
# The real ones are slow on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
