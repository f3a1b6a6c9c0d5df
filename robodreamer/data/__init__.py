"""Data: the replay, and where its steps come from: environments and robot logs."""
