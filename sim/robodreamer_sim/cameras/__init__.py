"""Cameras: added to models, drawn by a renderer, and observed by a policy."""
