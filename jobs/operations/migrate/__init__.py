"""Live migration: checks, the call, what is seen meanwhile, and the truth afterwards; and a look ahead at all that."""

from jobs.operations.migrate.operation import Migrate
from jobs.operations.migrate.preview import MigratePreview

__all__ = ["Migrate", "MigratePreview"]
