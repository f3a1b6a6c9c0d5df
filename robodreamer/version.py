"""Release of this package; below everything else, because a run folder records it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("robodreamer")
except PackageNotFoundError:  # a checkout on the path that nobody installed
    __version__ = "0+source"
