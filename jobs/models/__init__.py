"""Jobs, what decides whether they may begin, and what is wanted of them while they run."""

from jobs.models.approvals import Approval, BrokenGlass
from jobs.models.controls import Control
from jobs.models.curves import Curve
from jobs.models.jobs import Job, JobLock, Step
from jobs.models.looks import Look

__all__ = ["Approval", "BrokenGlass", "Control", "Curve", "Job", "JobLock", "Look", "Step"]
