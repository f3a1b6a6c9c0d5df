"""A world-model agent that learns in MuJoCo and drives a robot from three ONNX files."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("robodreamer")
except PackageNotFoundError:  # a checkout on the path that nobody installed
    __version__ = "0+source"
