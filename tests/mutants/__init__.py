"""Mutants: each use of the gate is taken away in turn, and the tests have to notice. `python -m tests.mutants`."""
