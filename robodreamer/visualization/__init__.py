"""Visualization: videos, dreams, plots, and the HTML report of a run."""
