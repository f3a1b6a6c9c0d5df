"""Tests for tasks: the conformance suite, and a random policy."""
