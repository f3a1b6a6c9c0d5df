"""World-model agent that learns in MuJoCo and drives a robot from ONNX files.

    import robodreamer

    run = robodreamer.train("fetch_reach", minutes=15)
    robodreamer.evaluate(run)
    policy = robodreamer.load(robodreamer.export_policy(run))

Importing this package costs neither torch nor MuJoCo; a function loads what it needs on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from robodreamer.version import __version__

if TYPE_CHECKING:
    from robodreamer.api import (
        Films,
        Inspection,
        dream,
        evaluate,
        export_policy,
        import_reference,
        inspect,
        resume,
        train,
    )
    from robodreamer.config import TrainConfig
    from robodreamer.runs.run import Run
    from robodreamer_deploy.policy.loading import load
    from robodreamer_sim import EnvOptions, TaskEnv, list_tasks, make

__all__ = [
    "EnvOptions",
    "Films",
    "Inspection",
    "Run",
    "TaskEnv",
    "TrainConfig",
    "__version__",
    "dream",
    "evaluate",
    "export_policy",
    "import_reference",
    "inspect",
    "list_tasks",
    "load",
    "make",
    "resume",
    "train",
]

_HOMES = {
    "EnvOptions": "robodreamer_sim",
    "Films": "robodreamer.api",
    "Inspection": "robodreamer.api",
    "Run": "robodreamer.runs.run",
    "TaskEnv": "robodreamer_sim",
    "TrainConfig": "robodreamer.config",
    "dream": "robodreamer.api",
    "evaluate": "robodreamer.api",
    "export_policy": "robodreamer.api",
    "import_reference": "robodreamer.api",
    "inspect": "robodreamer.api",
    "list_tasks": "robodreamer_sim",
    "load": "robodreamer_deploy.policy.loading",
    "make": "robodreamer_sim",
    "resume": "robodreamer.api",
    "train": "robodreamer.api",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it.

    Raises:
        ImportError: A package that it needs is not installed; names the extra that has it.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"robodreamer.{name} needs {error.name}: run pip install 'robodreamer[train]'"
        ) from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
