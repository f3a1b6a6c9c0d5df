"""Errors that somebody reacts to. Importing this costs only the standard library."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robodreamer_deploy.contract import Array


class GraphicsError(RuntimeError):
    """This machine cannot render; the message says what to install."""


class NoPictureError(ValueError):
    """Pictures of a task are wanted, and it has none."""


class EnvironmentFault(RuntimeError):  # noqa: N818  the fault is the environment's
    """An environment yielded what its contract forbids, raised an error, or its worker died."""

    def __init__(
        self,
        reason: str,
        *,
        environment: int | None = None,
        key: str | None = None,
        episode: int | None = None,
        step: int | None = None,
        observation: "dict[str, Array] | None" = None,
        action: "Array | None" = None,
    ) -> None:
        super().__init__(reason)
        self.environment = environment
        """Index of the environment; None if a whole worker failed."""
        self.key = key
        """The signal or `reward`; None if it was an exception."""
        self.episode = episode
        self.step = step
        """Step within the episode; 0 is the first observation."""
        self.observation = observation or {}
        """What the environment yielded, as far as it got."""
        self.action = action
        """The action (A,) that led there; None at the start of an episode."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (str(self), self.__dict__)


def _rebuild(reason: str, fields: dict[str, Any]) -> EnvironmentFault:
    return EnvironmentFault(reason, **fields)
