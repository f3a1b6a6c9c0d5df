"""Reduced precision: int8 or float16 weights, and what they cost.

Only matrix products (and with float16 convolutions) are reduced; norms, probabilities and draws
stay in float32, as do all inputs and outputs. Such graphs compute something else by intention, so
they are judged by the latents that fall into another class, or by the error of Gaussian ones, and
by what they earn in closed loop.
"""

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from robodreamer.export.folder import unsealed_policy
from robodreamer_deploy.drive_summary import Z95
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.golden import Golden
from robodreamer_deploy.policy.graph_spec import GRAPHS, SEQUENCES
from robodreamer_deploy.policy.manifest import DrawResult, Manifest, Reduction
from robodreamer_deploy.policy.providers import import_onnxruntime
from robodreamer_deploy.policy.selftest import measure_deviation

Reduced = Literal["int8", "float16"]
PRODUCTS = ("MatMul", "Gemm")
HALVED = {*PRODUCTS, "Conv"}
MIN_EPISODES = 5
"""Episodes from which on an interval of the return means something."""


def reduce_graphs(folder: Path, precision: Reduced) -> None:
    """Rewrite all graphs of a draft with weights of fewer bits."""
    for name in GRAPHS:
        model = onnx.load(folder / name)
        if precision == "int8":
            _quantize(model, folder / name)
        else:
            onnx.save(_halve(model), folder / name)


def measure(folder: Path, manifest: Manifest, steps: Golden, golden: Golden) -> Reduction:
    """Return what reduced graphs cost on recorded steps; of closed loop only what float32 earned.

    Args:
        folder: The reduced graphs.
        manifest: Of the float32 ones, with their closed-loop results.
        steps: What the agent did on a recording.
        golden: Those of them that the bundle holds.
    """
    policies = [unsealed_policy(folder, manifest, sequence) for sequence in SEQUENCES]
    found = [measure_deviation(policy, steps) for policy in policies]
    at_golden = [measure_deviation(policy, golden) for policy in policies]
    return Reduction(
        num_choices=max(one.num_choices for one in found),
        flip_rate=max(one.flip_rate for one in found),
        latent_error=max(one.latent_error for one in found),
        action_error=max(one.action_error for one in found),
        golden_flip_rate=max(one.flip_rate for one in at_golden),
        golden_latent_error=max(one.latent_error for one in at_golden),
        golden_action_error=max(one.action_error for one in at_golden),
        float32_draws=manifest.draws,
        float32_interval=interval(manifest.draws[manifest.default_draw]),
        is_loss_accepted=False,
    )


def judge(manifest: Manifest, *, accept_loss: bool) -> Manifest:
    """Return the manifest of a reduced policy; refuse one that earns less than float32 does.

    Raises:
        BundleError: Its return lies below the interval of float32's, and nobody accepted that.
    """
    assert manifest.reduction is not None
    low, high = manifest.reduction.float32_interval
    found = manifest.draws[manifest.default_draw].return_mean
    if found >= low:
        return manifest
    if not accept_loss:
        raise BundleError(
            f"in {manifest.precision} the return is {found:.2f}, float32's lies within "
            f"{low:.2f} .. {high:.2f}; export in float32, or accept that with --accept-loss"
        )
    accepted = dataclasses.replace(manifest.reduction, is_loss_accepted=True)
    return dataclasses.replace(manifest, reduction=accepted)


def interval(result: DrawResult) -> tuple[float, float]:
    """Return the 95 % interval of a mean return."""
    spread = Z95 * result.return_std / math.sqrt(result.num_episodes)
    return result.return_mean - spread, result.return_mean + spread


def _quantize(model: onnx.ModelProto, path: Path) -> None:
    """Write a graph with int8 weights; what enters a product is quantised while it runs.

    Seven bits, because without VNNI instructions sums of eight saturate.
    """
    import_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    del model.graph.value_info[:]  # onnxruntime stumbles over shapes that it did not infer itself
    with _advice_kept_back():
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=list(PRODUCTS),
            weight_type=QuantType.QInt8,
            reduce_range=True,
        )


def _halve(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph whose products and convolutions have float16 weights, and compute in it.

    `onnxruntime.transformers.float16` cannot do that: it rounds every value between two nodes to
    float16, state and logits included, whatever its lists of float32 operators say (1.31).
    """
    weights = {
        tensor.name: tensor
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
    }
    halves: dict[str, onnx.TensorProto] = {}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type in HALVED and not weights.keys().isdisjoint(node.input):
            halves |= {name: _half(weights[name]) for name in node.input if name in weights}
            nodes.extend(_halved(node, halves))
        else:
            nodes.append(node)
    used = {name for node in nodes for name in node.input}
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend([*tensors, *halves.values()])
    return model


def _half(tensor: onnx.TensorProto) -> onnx.TensorProto:
    values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
    return onnx.numpy_helper.from_array(values, f"{tensor.name}_half")


def _halved(
    node: onnx.NodeProto, halves: Mapping[str, onnx.TensorProto]
) -> Iterator[onnx.NodeProto]:
    """Yield a node between casts to float16 and back."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for i, name in enumerate(node.input):
        if name in halves:
            copy.input[i] = halves[name].name
        elif name:
            copy.input[i] = f"{node.output[0]}_half_{i}"
            yield _cast(name, copy.input[i], onnx.TensorProto.FLOAT16)
    copy.output[0] = f"{node.output[0]}_half"
    yield copy
    yield _cast(copy.output[0], node.output[0], onnx.TensorProto.FLOAT)


def _cast(value: str, result: str, kind: int) -> onnx.NodeProto:
    return onnx.helper.make_node("Cast", [value], [result], name=f"{result}_cast", to=kind)


@contextmanager
def _advice_kept_back() -> Iterator[None]:
    """Keep back onnxruntime's advice to preprocess, by message; everything else is heard."""

    def is_other(record: logging.LogRecord) -> bool:
        return "pre-processing before quantization" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
