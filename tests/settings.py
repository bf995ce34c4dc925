"""The settings that tests run with: those of an installation, in a data directory that is removed afterwards.

`SLIPWAY_DATABASE_URL` and `SLIPWAY_BROKER_URL` may be set, so that the same tests run against PostgreSQL and Redis.
"""

import atexit
import os
import shutil
import tempfile

# One directory for each test process (pytest-xdist runs several), shared with the processes that it starts itself.
_process = os.environ.get("PYTEST_XDIST_WORKER", "main")
if os.environ.get("SLIPWAY_TESTS_PROCESS") != _process:
    os.environ["SLIPWAY_TESTS_PROCESS"] = _process
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
