"""Work on the estate: jobs, their states and steps, the operations, and the recovery of what was interrupted."""
