"""Robots of the onboard loop: `base` defines the interface, `loading` finds one by name."""
