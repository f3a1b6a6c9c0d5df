"""Training: the loop (`train`), its parts put together (`builder`), and who watches it."""
