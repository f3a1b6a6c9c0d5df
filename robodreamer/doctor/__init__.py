"""Examination of a machine: installed packages, simulation, rendering, hardware.

It runs on a robot's computer too, where neither torch nor a simulator is installed: importing it
needs the standard library alone, and a missing package becomes a finding instead of an error.
"""
