"""The crash list: rounds that are determined by a seed, faults, the moments to strike at, and a checker of its own."""
