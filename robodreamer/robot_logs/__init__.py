"""From logs of a robot back to the replay of a run."""
