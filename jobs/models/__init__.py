"""Jobs, and what decides whether they may begin."""

from jobs.models.approvals import Approval, BrokenGlass
from jobs.models.jobs import Job, JobLock, Step

__all__ = ["Approval", "BrokenGlass", "Job", "JobLock", "Step"]
