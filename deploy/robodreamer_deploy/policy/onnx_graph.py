"""One ONNX graph, loaded for a control loop and checked against what it should be.

One thread and no spinning: at batch 1 a second thread saves nothing, and spinning ones burn whole
cores that the robot needs elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.graph_spec import GraphSpec, TensorSpec
from robodreamer_deploy.policy.onnx_file import read_onnx
from robodreamer_deploy.policy.providers import PROVIDERS, Provider, import_onnxruntime

ONNX_TYPES = {
    "float32": "tensor(float)",
    "uint8": "tensor(uint8)",
    "int32": "tensor(int32)",
    "bool": "tensor(bool)",
}


class Graph:
    """A graph whose inputs and outputs are exactly those it was announced with."""

    def __init__(
        self,
        path: Path,
        spec: GraphSpec,
        provider: Provider = "cpu",
        content: bytes | None = None,
    ) -> None:
        """Load a graph from bytes, so that no other file can be read with it.

        Args:
            path: Where they come from.
            spec: What it was announced with.
            provider: Where to compute it.
            content: The ONNX file; None to read it from `path`.

        Raises:
            BundleError: Not a valid graph, its inputs or outputs differ from the announced, or the
                device does not take it.
        """
        self._path = path
        content = path.read_bytes() if content is None else content
        try:
            read_onnx(content)
        except ValueError as error:
            raise BundleError(f"{path} cannot be loaded: {error}") from error
        self._session = _load(path, content, provider)
        _check(path, "input", self._session.get_inputs(), spec.inputs)
        _check(path, "output", self._session.get_outputs(), spec.outputs)
        self._spec = spec

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute all outputs from the step's values; both by what they carry, with batch axis.

        Raises:
            BundleError: The graph is damaged in a way that shows only when it runs.
        """
        feeds = {tensor.name: values[tensor.value] for tensor in self._spec.inputs}
        names = [tensor.name for tensor in self._spec.outputs]
        try:
            outputs = cast("list[Array]", self._session.run(names, feeds))
        except Exception as error:  # onnxruntime's errors have no base class of their own
            raise BundleError(f"{self._path} cannot be computed: {error}") from error
        return {t.value: array for t, array in zip(self._spec.outputs, outputs, strict=True)}

    def bind(self, buffers: Mapping[str, Array]) -> Callable[[], None]:
        """Return what computes this graph from buffers into buffers, without allocating any.

        They are the step's values by name, as in `run`, and stay in use: who calls the result fills
        the inputs before and reads the outputs after.
        """
        runtime, binding = import_onnxruntime(), self._session.io_binding()
        for tensor in self._spec.inputs:
            value = runtime.OrtValue.ortvalue_from_numpy(buffers[tensor.value])
            binding.bind_ortvalue_input(tensor.name, value)
        for tensor in self._spec.outputs:
            value = runtime.OrtValue.ortvalue_from_numpy(buffers[tensor.value])
            binding.bind_ortvalue_output(tensor.name, value)
        session, path = self._session, self._path

        def compute() -> None:
            try:
                session.run_with_iobinding(binding)
            except Exception as error:  # onnxruntime's errors have no base class of their own
                raise BundleError(f"{path} cannot be computed: {error}") from error

        return compute


def _load(path: Path, content: bytes, provider: Provider) -> Any:
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3  # errors; warnings would go to stderr past the logging module
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    name, settings = PROVIDERS[provider]
    try:
        session = runtime.InferenceSession(
            content, options, providers=[(name, dict(settings))], enable_fallback=0
        )
    except Exception as error:  # onnxruntime's errors have no base class of their own
        raise BundleError(f"{path} cannot be loaded: {error}") from error
    if session.get_providers()[0] != name:
        raise BundleError(f"{path} is not computed by {name}: its libraries cannot be loaded here")
    return session


def _check(path: Path, what: str, found: Any, expected: Sequence[TensorSpec]) -> None:
    actual = {node.name: (tuple(node.shape), str(node.type)) for node in found}
    names = {tensor.name for tensor in expected}
    if actual.keys() != names:
        raise BundleError(f"{path} has the {what}s {sorted(actual)}, expected {sorted(names)}")
    for tensor in expected:
        name, announced = tensor.name, (tensor.shape, ONNX_TYPES[tensor.dtype])
        if actual[name] != announced:
            raise BundleError(
                f"{path}: {what} {name} is {actual[name][1]} {actual[name][0]}, "
                f"expected {announced[1]} {announced[0]}"
            )
