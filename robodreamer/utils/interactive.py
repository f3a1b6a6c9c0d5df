"""Detection of a person at a prompt or in a notebook."""

import sys


def is_interactive() -> bool:
    """Return True if a person types into this process: at a prompt, in IPython or in a notebook."""
    return hasattr(sys, "ps1")
