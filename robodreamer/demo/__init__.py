"""The demonstration: from nothing to a driven robot arm, by the public commands."""
