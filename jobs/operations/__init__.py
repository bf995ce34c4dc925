"""The kinds of work: one module per noun, each operation with the same phases."""
