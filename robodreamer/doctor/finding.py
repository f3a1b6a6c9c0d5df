"""What a check has found."""

from typing import Literal, NamedTuple

Status = Literal["ok", "warning", "failure"]


class Finding(NamedTuple):
    """One line of the examination."""

    name: str
    status: Status
    """`failure`: something that was installed to be used cannot be; `warning`: all can be used, but
    not as well as it could."""
    found: str
    advice: str = ""
    """What to do about it; empty where there is nothing to do."""
