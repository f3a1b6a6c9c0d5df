"""Base class of all settings: numbers out of range raise when the object is made."""

import dataclasses
import math
from typing import Annotated, Any, ClassVar, get_args, get_origin, get_type_hints


@dataclasses.dataclass(frozen=True)
class Minimum:
    """Lower bound of a number in an annotation."""

    is_zero_allowed: bool

    def check(self, option: str, value: Any) -> None:
        """Raise unless the number is finite and within the bound.

        Raises:
            ValueError: The message names the option of the command line.
        """
        if not 0 <= value < math.inf or (value == 0 and not self.is_zero_allowed):
            least = "0 or more" if self.is_zero_allowed else "more than 0"
            raise ValueError(f"{option} has to be {least}, got {value}")


PositiveInt = Annotated[int, Minimum(is_zero_allowed=False)]
PositiveFloat = Annotated[float, Minimum(is_zero_allowed=False)]
NonNegativeInt = Annotated[int, Minimum(is_zero_allowed=True)]
NonNegativeFloat = Annotated[float, Minimum(is_zero_allowed=True)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Frozen settings that check themselves; errors name the option of the command line."""

    OPTION: ClassVar[str] = "--"
    """Prefix of the options on the command line."""

    def __post_init__(self) -> None:
        for name, bound in _bounds(type(self)).items():
            value = getattr(self, name)
            if value is not None:
                bound.check(self.option(name), value)

    def option(self, field: str) -> str:
        """Return what the command line calls a field."""
        return self.OPTION + field.replace("_", "-")


def _bounds(kind: type[Settings]) -> dict[str, Minimum]:
    """Return the bounds that stand in the annotations of a class, by field."""
    found = {}
    for name, hint in get_type_hints(kind, include_extras=True).items():
        for part in (hint, *get_args(hint)):  # `PositiveFloat | None` is a union of both
            if get_origin(part) is Annotated and isinstance(part.__metadata__[0], Minimum):
                found[name] = part.__metadata__[0]
    return found
