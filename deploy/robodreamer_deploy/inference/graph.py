"""One ONNX graph, loaded for a control loop and checked against what it should be.

One thread and no spinning: at batch 1 a second thread saves nothing, and spinning ones burn whole
cores that the robot needs elsewhere.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from robodreamer_deploy.bundle.bundle import BundleError
from robodreamer_deploy.contract import Array

ONNX_TYPES = {
    "float32": "tensor(float)",
    "uint8": "tensor(uint8)",
    "int32": "tensor(int32)",
    "bool": "tensor(bool)",
}


class Tensor(NamedTuple):
    """Shape, with the batch axis of 1, and type of a graph's input or output."""

    shape: tuple[int, ...]
    dtype: str = "float32"


Tensors = Mapping[str, Tensor]


class Graph:
    """A graph whose inputs and outputs are exactly those it was announced with."""

    def __init__(self, path: Path, inputs: Tensors, outputs: Tensors) -> None:
        """Load `path`.

        Raises:
            BundleError: Not a valid graph, or its inputs or outputs differ from the announced.
        """
        self._path = path
        self._session = _load(path)
        _check(path, "input", self._session.get_inputs(), inputs)
        _check(path, "output", self._session.get_outputs(), outputs)
        self._outputs = list(outputs)

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """Compute all outputs, in the announced order, from arrays with the batch axis of 1.

        Raises:
            BundleError: The graph is damaged in a way that shows only when it runs.
        """
        try:
            return cast("list[Array]", self._session.run(self._outputs, dict(feeds)))
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise BundleError(f"{self._path} cannot be computed: {error}") from error


def _load(path: Path) -> Any:
    runtime = cast("Any", onnxruntime)  # it ships no types
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors; warnings would go to stderr past the logging module
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise BundleError(f"{path} cannot be loaded: {error}") from error


def _check(path: Path, what: str, found: Any, expected: Tensors) -> None:
    actual = {node.name: (tuple(node.shape), str(node.type)) for node in found}
    if actual.keys() != expected.keys():
        raise BundleError(f"{path} has the {what}s {sorted(actual)}, expected {sorted(expected)}")
    for name, tensor in expected.items():
        announced = (tensor.shape, ONNX_TYPES[tensor.dtype])
        if actual[name] != announced:
            raise BundleError(
                f"{path}: {what} {name} is {actual[name][1]} {actual[name][0]}, "
                f"expected {announced[1]} {announced[0]}"
            )
