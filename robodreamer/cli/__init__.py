"""Command line: one module per command; `main` finds the one that is meant."""
