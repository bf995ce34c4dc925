"""Live migration: checks, the call, what is seen meanwhile, and the truth afterwards."""

from jobs.operations.migrate.operation import Migrate

__all__ = ["Migrate"]
