"""Logs of a drive: written, read, repeated bit for bit, labelled; the flight recorder."""
