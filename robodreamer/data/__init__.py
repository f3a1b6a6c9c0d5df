"""Data: the replay, and the sources of its steps, environments and robot logs."""
