"""What carries a job through: claim, heartbeat, phases, and an end in every case."""
