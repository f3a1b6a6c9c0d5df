"""Functions in two steps: first everything is checked and loaded, then the work is done."""

import functools
import inspect
from collections.abc import Callable
from typing import ParamSpec, Protocol, TypeVar, get_args, runtime_checkable

P = ParamSpec("P")
T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Job = Callable[[], T]
"""Work that has been prepared."""


@runtime_checkable
class InTwoSteps(Protocol[P, T_co]):
    """Function that prepares a job and does it."""

    @property
    def prepare(self) -> Callable[P, Callable[[], T_co]]:
        """Return the job instead of doing it."""
        ...

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T_co:
        """Prepare the job and do it."""
        ...


def in_two_steps(prepare: Callable[P, Callable[[], T]]) -> InTwoSteps[P, T]:
    """Return a function that does the job that `prepare` returns, with its name and its words."""

    @functools.wraps(prepare)
    def do_at_once(*args: P.args, **kwargs: P.kwargs) -> T:
        return prepare(*args, **kwargs)()

    signature = inspect.signature(prepare)
    _, result = get_args(signature.return_annotation)  # `help` shows what a caller gets
    vars(do_at_once).update(
        prepare=prepare, __signature__=signature.replace(return_annotation=result)
    )
    return do_at_once  # type: ignore[return-value]
