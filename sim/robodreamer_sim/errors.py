"""Errors that callers react to. Importing this loads only the standard library."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robodreamer_deploy.contract import Array


class GraphicsError(RuntimeError):
    """Error of a machine that cannot render; the message names what to install."""


class NoPictureError(ValueError):
    """Error of a task without images where images are observed."""


class EnvironmentFault(RuntimeError):  # noqa: N818  the fault is the environment's
    """Fault of an environment: it broke its contract, raised an error, or its worker died."""

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
        """Name of the wrong signal, or `reward`; None if it was an exception."""
        self.episode = episode
        self.step = step
        """Step within the episode; 0 is the first observation."""
        self.observation = observation or {}
        """Signals that the environment returned before it failed."""
        self.action = action
        """Action (A,) of the failed step; None at the start of an episode."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (str(self), self.__dict__)


def _rebuild(reason: str, fields: dict[str, Any]) -> EnvironmentFault:
    return EnvironmentFault(reason, **fields)
