"""Helpers that know nothing of the agent: text, memory and processor."""
