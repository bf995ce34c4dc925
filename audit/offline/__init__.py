"""What works without Slipway: one file, given to whoever wants to check an export."""
