"""What `robodreamer-deploy` can do: one module per command, each with `parser` and `run`."""
