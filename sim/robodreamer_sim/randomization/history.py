"""Lets models keep the past that randomised delays of actuators and sensors need."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np

from robodreamer_sim.randomization.delay import keep_history
from robodreamer_sim.randomization.spec import Entry, Randomization

KINDS = {"actuator_delay": "actuator", "sensor_delay": "sensor"}


@contextmanager
def histories_kept(randomization: Randomization) -> Iterator[None]:
    """Let every model that is loaded meanwhile keep as much of its past as the entries need.

    Third-party environments load their model in their constructor and leave no other way in. The
    rest of the model stays as it is.
    """
    entries = [entry for entry in randomization.entries if entry.field in KINDS]
    if not entries:
        yield
        return
    specs, models = mujoco.MjSpec, mujoco.MjModel
    originals = specs.compile, models.from_xml_path, models.from_xml_string

    def compile_with_history(spec: Any) -> mujoco.MjModel:
        for entry in entries:
            _keep(spec, entry)
        return originals[0](spec)

    def from_path(path: str, assets: Any = None) -> mujoco.MjModel:
        return compile_with_history(specs.from_file(path, include=assets, assets=assets))

    def from_string(text: str, assets: Any = None) -> mujoco.MjModel:
        return compile_with_history(specs.from_string(text, include=assets, assets=assets))

    specs.compile = compile_with_history
    models.from_xml_path, models.from_xml_string = from_path, from_string
    try:
        yield
    finally:
        specs.compile, models.from_xml_path, models.from_xml_string = originals


def _keep(spec: Any, entry: Entry) -> None:
    kind, longest = KINDS[entry.field], int(np.rint(entry.distribution.bounds[1]))
    for index, element in enumerate(getattr(spec, f"{kind}s")):
        if entry.matches(element.name or f"{kind}_{index}"):
            keep_history(element, longest)
