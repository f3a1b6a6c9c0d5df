"""Examines a machine: what of RoboDreamer works on it, and what to do about the rest.

A robot computer has neither torch nor a simulator, so importing any of this needs nothing but the
standard library, and what is missing is a finding, not an error.
"""
