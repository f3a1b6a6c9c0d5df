"""Command line of `robodreamer-deploy`: one module per command, each with `parser` and `run`."""
