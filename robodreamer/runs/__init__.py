"""Run folders: configuration, checkpoints, metrics, and durable files."""
