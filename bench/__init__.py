"""Benchmarks: each measures Slipway beside its anchor in the same run, and writes the raw figures down."""
