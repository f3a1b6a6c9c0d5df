"""Settings of a run from what a user names: changes of others, or of those of a saved run."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from robodreamer.config import TrainConfig
from robodreamer_deploy.utils.suggest import closest
from robodreamer_sim.randomization import read_word

MUTABLE = {
    "steps", "minutes", "threads", "num_workers", "checkpoint_minutes", "keep_checkpoints",
    "evaluate_minutes", "evaluate_steps", "evaluate_episodes", "log_seconds", "log_steps", "device",
    "on_crash", "env_timeout_s",
}  # fmt: skip
"""Settings that a resumed run may change, because they do not change what it is."""


def change_settings(config: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """Return other settings, with the contents of a randomisation file instead of its name.

    Args:
        config: Settings to start from.
        changes: New values by the name of a field; those of a part as `{"data": {"num_envs": 4}}`.

    Raises:
        ValueError: There is no such setting, no run could be made with it, or the file cannot be
            read.
    """
    changed = _replace(config, changes)
    return dataclasses.replace(changed, randomize=read_word(changed.randomize))


def resumed_config(folder: Path, saved: TrainConfig, changes: Mapping[str, Any]) -> TrainConfig:
    """Return a run's own settings with changes that leave it the run that it is.

    Raises:
        ValueError: A change would make it another run; all such changes are listed.
    """
    wanted = change_settings(saved, changes)
    if changed := list(_refused(saved, wanted)):
        raise ValueError(f"{folder} is another run: {'; '.join(changed)}. Nothing was changed")
    return wanted


def _refused(saved: Any, wanted: Any, prefix: str = "") -> Iterator[str]:
    """Yield every change of a setting that has to stay what it was."""
    for field in dataclasses.fields(saved):
        before, after = getattr(saved, field.name), getattr(wanted, field.name)
        if dataclasses.is_dataclass(before):
            yield from _refused(before, after, f"{prefix}{field.name}.")
        elif before != after and field.name not in MUTABLE:
            yield f"{prefix}{field.name} {before} -> {after}"


def _replace(settings: Any, changes: Mapping[str, Any]) -> Any:
    """Return a dataclass with all changes at once, because two settings may have to fit."""
    values: dict[str, Any] = {}
    hints = get_type_hints(type(settings))
    names = [field.name for field in dataclasses.fields(settings)]
    for name, value in changes.items():
        if name not in names:
            raise ValueError(f"there is no setting {name!r}; there is {closest(name, names)}")
        values[name] = value
        if isinstance(value, Mapping):
            values[name] = _replace(getattr(settings, name), value)
        elif isinstance(value, list):
            values[name] = tuple(value)
        elif isinstance(value, int) and float in (hints[name], *get_args(hints[name])):
            values[name] = float(value)  # so that 15 minutes and 15.0 are the same setting
    return dataclasses.replace(settings, **values)
