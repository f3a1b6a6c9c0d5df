"""Training: the loop (`train`), the builder of its parts, and reports about it."""
