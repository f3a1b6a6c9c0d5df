"""The policy bundle: the folder that `robodreamer export` writes, read back and checked."""
