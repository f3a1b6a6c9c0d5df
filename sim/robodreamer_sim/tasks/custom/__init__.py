"""A user's own task: a robot from MJCF, URDF or MjSpec, or a class of another module."""
