"""Edits of MuJoCo models that third-party environments load.

Such environments load their model in their constructor and offer no other way in, so MuJoCo's own
loaders are patched while one is constructed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mujoco

Edit = Callable[[Any], None]
"""Change of an `MjSpec`, in place."""


@contextmanager
def models_edited(*edits: Edit) -> Iterator[None]:
    """Apply edits, in order, to every model that is loaded or compiled inside the context.

    A model that is loaded from XML is compiled from an `MjSpec`; what no edit touches stays as it
    is. Contexts nest: the edits of the inner one come first.
    """
    if not edits:
        yield
        return
    specs, models = mujoco.MjSpec, mujoco.MjModel
    originals = specs.compile, models.from_xml_path, models.from_xml_string

    def compile_edited(spec: Any) -> mujoco.MjModel:
        for edit in edits:
            edit(spec)
        return originals[0](spec)

    def from_path(path: str, assets: Any = None) -> mujoco.MjModel:
        return compile_edited(specs.from_file(path, include=assets, assets=assets))

    def from_string(text: str, assets: Any = None) -> mujoco.MjModel:
        return compile_edited(specs.from_string(text, include=assets, assets=assets))

    specs.compile = compile_edited
    models.from_xml_path, models.from_xml_string = from_path, from_string
    try:
        yield
    finally:
        specs.compile, models.from_xml_path, models.from_xml_string = originals
