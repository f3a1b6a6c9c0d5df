"""Simulated robots for the onboard loop: in its process, or virtual hardware in another."""
