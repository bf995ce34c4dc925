"""Making a cluster's hosts evenly used: what is observed, the plan, and the job whose parts carry it out."""

from jobs.operations.rebalance.operation import Rebalance

__all__ = ["Rebalance"]
