"""A small recurrent policy for the tests of the robot's side, twice: in ONNX and in numpy.

The numpy one computes the golden outputs, so that the self-test compares two implementations.
There is one with either family of latents.
Letters: D deter, S stoch, K classes, P parameters, E tokens, A action.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from robodreamer.export.subgraphs import extract_subgraph
from robodreamer_deploy.contract import Array, Observation
from robodreamer_deploy.policy.bundle import Carry, write_initial, write_manifest
from robodreamer_deploy.policy.golden import Golden
from robodreamer_deploy.policy.graph_spec import (
    GRAPHS,
    StateSpec,
    describe_graphs,
    describe_noise,
)
from robodreamer_deploy.policy.latents import LatentFamily
from robodreamer_deploy.policy.manifest import (
    FORMAT_VERSION,
    METADATA,
    DrawResult,
    Manifest,
    derive,
)
from toy_robot import CONTRACT

Layer = dict[str, Array]  # weights of one graph by name
Weights = dict[str, Layer]

D, S, K, E, A = 8, 3, 4, 5, CONTRACT.action.size
STD = 0.3
UNIMIX = 0.01
MIN_STD = 0.1
GOLDEN_STEPS = 32
VECTORS = ("goal/target", "proprio/position")  # sorted
STATES: dict[LatentFamily, StateSpec] = {
    "categorical": StateSpec(deter=(D,), stoch=(S, K), family="categorical"),
    "gaussian": StateSpec(deter=(D,), stoch=(S, 1), family="gaussian"),
}
ONNX_TYPES = {
    "uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int32": TensorProto.INT32,
}  # fmt: skip


def make_weights(seed: int = 0, family: LatentFamily = "categorical") -> Weights:
    """Return all weights by name."""
    generator = np.random.default_rng(seed)
    # Numbers carry errors on, which classes cut off: free runs are compared where those fade.
    gain = {"categorical": 2.0, "gaussian": 1.0}[family]
    stoch, outputs = int(np.prod(STATES[family].stoch)), int(np.prod(STATES[family].parameters))
    shapes = {
        "encoder": {"vectors": (4, E), "pixels": (int(np.prod((8, 6, 3))), E)},
        "rssm_step": {
            "core": (D + stoch + A, D), "prior_kernel": (D, outputs),
            "posterior_kernel": (D + E, outputs),
        },
        "actor": {"mean": (D + stoch, A)},
    }  # fmt: skip
    return {
        graph: {
            name: generator.normal(0, gain / np.sqrt(shape[0]), shape).astype(np.float32)
            for name, shape in weights.items()
        }
        for graph, weights in shapes.items()
    }


# --- in numpy ------------------------------------------------------------------------------------


def encode(weights: Layer, observation: Observation) -> Array:
    vectors = np.concatenate([observation[name] for name in VECTORS])
    symlog = np.sign(vectors) * np.log1p(np.abs(vectors))
    pixels = observation["image/eye"].astype(np.float32).ravel() / 255 - 0.5
    return np.tanh(symlog @ weights["vectors"] + pixels @ weights["pixels"])


def log_unimixed(flat: Array) -> Array:
    logits = flat.reshape(S, K)
    probs = np.exp(logits - logits.max(-1, keepdims=True))
    probs /= probs.sum(-1, keepdims=True)
    return np.log((1 - UNIMIX) * probs + UNIMIX / K).astype(np.float32)


def parameters_of(flat: Array, family: LatentFamily) -> Array:
    """Return the parameters (S, P) of the latents."""
    if family == "categorical":
        return log_unimixed(flat)
    mean, raw_std = flat.reshape(S, 2).T
    return np.stack([mean, np.log1p(np.exp(raw_std)) + MIN_STD], -1).astype(np.float32)


def draw(parameters: Array, noise: Array, family: LatentFamily) -> Array:
    """Return the values (S, K) of the latents."""
    if family == "categorical":
        return np.eye(K, dtype=np.float32)[np.argmax(parameters + noise, -1)]
    return parameters[:, :1] + parameters[:, 1:] * noise


def rssm_step(
    weights: Layer,
    carry: Carry,
    tokens: Array,
    is_first: bool,
    noise: Array,
    family: LatentFamily = "categorical",
) -> tuple[Array, Array, Array, Array]:
    deter, stoch, action = (np.zeros_like(x) if is_first else x for x in carry)
    deter = np.tanh(np.concatenate([deter, stoch.ravel(), action]) @ weights["core"])
    prior = parameters_of(deter @ weights["prior_kernel"], family)
    posterior = np.concatenate([deter, tokens]) @ weights["posterior_kernel"]
    posterior = parameters_of(posterior, family)
    return deter, draw(posterior, noise, family), prior, posterior


def act(weights: Layer, deter: Array, stoch: Array, noise: Array) -> Array:
    mean = np.tanh(np.concatenate([deter, stoch.ravel()]) @ weights["mean"])
    return np.clip(mean + STD * noise, -1, 1).astype(np.float32)


def make_initial(family: LatentFamily = "categorical") -> Carry:
    """Return the state at an episode's start."""
    shapes = (*STATES[family].shapes.values(), (A,))
    return Carry(*(np.zeros(shape, np.float32) for shape in shapes))


def make_golden(
    weights: Weights,
    seed: int = 1,
    num_steps: int = GOLDEN_STEPS,
    family: LatentFamily = "categorical",
) -> Golden:
    """Record a sequence with noise and two episode starts."""
    generator = np.random.default_rng(seed)
    carry, stoch_shape = make_initial(family), STATES[family].stoch
    draw_stoch = generator.gumbel if family == "categorical" else generator.normal
    rows = []
    for i in range(num_steps):
        observation = random_observation(generator)
        is_first = i in (0, num_steps // 2)
        noise_stoch = draw_stoch(size=stoch_shape).astype(np.float32)
        noise_action = generator.normal(size=A).astype(np.float32)
        tokens = encode(weights["encoder"], observation)
        deter, stoch, prior, posterior = rssm_step(
            weights["rssm_step"], carry, tokens, is_first, noise_stoch, family
        )
        action = act(weights["actor"], deter, stoch, noise_action)
        rows.append(
            {
                **{f"observation/{k}": v for k, v in observation.items()},
                "is_first": np.array(is_first),
                "action_previous": carry.action,
                "deter": carry.deter,
                "stoch": carry.stoch,
                "noise_stoch": noise_stoch,
                "noise_action": noise_action,
                "tokens": tokens,
                "deter_next": deter,
                "stoch_next": stoch,
                "prior": prior,
                "posterior": posterior,
                "action": action,
            }
        )
        carry = Carry(deter, stoch, action)
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    names = [signal.name for signal in CONTRACT.inputs]
    observations = {name: stacked.pop(f"observation/{name}") for name in names}
    return Golden(family=family, observations=observations, **stacked)


def random_observation(generator: np.random.Generator) -> dict[str, Array]:
    return {
        "proprio/position": generator.normal(size=2).astype(np.float32),
        "image/eye": generator.integers(0, 256, (8, 6, 3)).astype(np.uint8),
        "goal/target": generator.normal(size=2).astype(np.float32),
    }


# --- in ONNX -------------------------------------------------------------------------------------


def encoder_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Concat", list(VECTORS), ["v"], axis=1),
        node("Sign", ["v"], ["sign"]),
        node("Abs", ["v"], ["abs"]),
        node("Add", ["abs", "one"], ["abs1"]),
        node("Log", ["abs1"], ["log"]),
        node("Mul", ["sign", "log"], ["symlog"]),
        node("Cast", ["image/eye"], ["raw"], to=TensorProto.FLOAT),
        node("Div", ["raw", "white"], ["unit"]),
        node("Sub", ["unit", "half"], ["centred"]),
        node("Flatten", ["centred"], ["flat"]),
        node("MatMul", ["symlog", "vectors"], ["from_vectors"]),
        node("MatMul", ["flat", "pixels"], ["from_pixels"]),
        node("Add", ["from_vectors", "from_pixels"], ["sum"]),
        node("Tanh", ["sum"], ["tokens"]),
    ]


def unimix_nodes(name: str) -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Reshape", [f"{name}_flat", "stoch_shape"], [f"{name}_raw"]),
        node("Softmax", [f"{name}_raw"], [f"{name}_softmax"], axis=-1),
        node("Mul", [f"{name}_softmax", "keep"], [f"{name}_kept"]),
        node("Add", [f"{name}_kept", "uniform"], [f"{name}_mixed"]),
        node("Log", [f"{name}_mixed"], [name]),
    ]


def choice_nodes(stoch: str, logits: str) -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Add", [logits, "noise_stoch"], [f"{stoch}_perturbed"]),
        node("ArgMax", [f"{stoch}_perturbed"], [f"{stoch}_index"], axis=-1, keepdims=0),
        node("OneHot", [f"{stoch}_index", "depth", "off_on"], [stoch]),
    ]


def normal_nodes(name: str) -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Reshape", [f"{name}_flat", "normal_shape"], [f"{name}_pair"]),
        node("Split", [f"{name}_pair"], [f"{name}_mean", f"{name}_raw"], axis=-1, num_outputs=2),
        node("Softplus", [f"{name}_raw"], [f"{name}_soft"]),
        node("Add", [f"{name}_soft", "min_std"], [f"{name}_std"]),
        node("Concat", [f"{name}_mean", f"{name}_std"], [name], axis=-1),
    ]


def number_nodes(stoch: str, name: str) -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Mul", ["noise_stoch", f"{name}_std"], [f"{stoch}_spread"]),
        node("Add", [f"{name}_mean", f"{stoch}_spread"], [stoch]),
    ]


def rssm_nodes(family: LatentFamily) -> list[onnx.NodeProto]:
    node = helper.make_node
    parameter_nodes, draw_nodes = {
        "categorical": (unimix_nodes, choice_nodes), "gaussian": (normal_nodes, number_nodes),
    }[family]  # fmt: skip
    return [
        node("Where", ["is_first", "zero", "deter"], ["d"]),
        node("Flatten", ["stoch"], ["stoch_flat"]),
        node("Where", ["is_first", "zero", "stoch_flat"], ["s"]),
        node("Where", ["is_first", "zero", "action_previous"], ["a"]),
        node("Concat", ["d", "s", "a"], ["core_in"], axis=1),
        node("MatMul", ["core_in", "core"], ["core_out"]),
        node("Tanh", ["core_out"], ["deter_next"]),
        node("MatMul", ["deter_next", "prior_kernel"], ["prior_flat"]),
        *parameter_nodes("prior"),
        *draw_nodes("stoch_prior", "prior"),
        node("Concat", ["deter_next", "tokens"], ["posterior_in"], axis=1),
        node("MatMul", ["posterior_in", "posterior_kernel"], ["posterior_flat"]),
        *parameter_nodes("posterior"),
        *draw_nodes("stoch_next", "posterior"),
    ]


def actor_nodes() -> list[onnx.NodeProto]:
    node = helper.make_node
    return [
        node("Flatten", ["stoch_next"], ["stoch_next_flat"]),
        node("Concat", ["deter_next", "stoch_next_flat"], ["feature"], axis=1),
        node("MatMul", ["feature", "mean"], ["mean_raw"]),
        node("Tanh", ["mean_raw"], ["mean_out"]),
        node("Mul", ["noise_action", "std"], ["scaled"]),
        node("Add", ["mean_out", "scaled"], ["wide"]),
        node("Clip", ["wide", "minus_one", "one"], ["action"]),
    ]


def constants() -> dict[str, Any]:
    f = np.float32
    return {
        "one": f(1), "white": f(255), "half": f(0.5), "zero": f(0), "std": f(STD),
        "minus_one": f(-1), "stoch_shape": np.array([1, S, K]), "keep": f(1 - UNIMIX),
        "uniform": f(UNIMIX / K), "depth": np.array(K), "off_on": np.array([0, 1], f),
        "normal_shape": np.array([1, S, 2]), "min_std": f(MIN_STD),
    }  # fmt: skip


def whole_step(weights: Weights, family: LatentFamily) -> onnx.ModelProto:
    """Return one graph with everything, whose parts are the files of the bundle."""
    signals = {s.name: ((1, *s.shape), ONNX_TYPES[s.dtype]) for s in CONTRACT.inputs}
    stoch, floats = (1, *STATES[family].stoch), TensorProto.FLOAT
    parameters = (1, *STATES[family].parameters)
    inputs = {
        **signals, "deter": ((1, D), floats), "stoch": (stoch, floats),
        "action_previous": ((1, A), floats), "is_first": ((1,), TensorProto.BOOL),
        "noise_stoch": (stoch, floats), "noise_action": ((1, A), floats),
    }  # fmt: skip
    outputs = {
        "tokens": (1, E), "deter_next": (1, D), "stoch_next": stoch, "stoch_prior": stoch,
        "prior": parameters, "posterior": parameters, "action": (1, A),
    }  # fmt: skip
    tensors = {name: w for layer in weights.values() for name, w in layer.items()} | constants()
    graph = helper.make_graph(
        [*encoder_nodes(), *rssm_nodes(family), *actor_nodes()],
        "whole",
        [helper.make_tensor_value_info(n, kind, shape) for n, (shape, kind) in inputs.items()],
        [helper.make_tensor_value_info(n, floats, shape) for n, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def make_graphs(
    weights: Weights, family: LatentFamily = "categorical"
) -> dict[str, onnx.ModelProto]:
    """Return all graphs by file name."""
    whole, specs = whole_step(weights, family), describe_graphs(CONTRACT, STATES[family], E, {})
    return {name: extract_subgraph(whole, spec, name) for name, spec in specs.items()}


def write_graphs(folder: Path, weights: Weights, family: LatentFamily = "categorical") -> None:
    for name, model in make_graphs(weights, family).items():
        helper.set_model_props(model, {METADATA: make_manifest(family).to_stamp()})
        (folder / name).write_bytes(model.SerializeToString())


def make_manifest(family: LatentFamily = "categorical") -> Manifest:
    """Return the toy's manifest, before its files are known."""
    state = STATES[family]
    return Manifest(
        format_version=FORMAT_VERSION,
        robodreamer_version="0.1.0",
        created="2026-01-02T03:04:05Z",
        run="toy",
        commit="0123456",
        contract=CONTRACT,
        preprocessing_version=1,
        opset=18,
        precision="float32",
        reduction=None,
        state=state,
        token_size=E,
        validity={},
        noise=describe_noise(state, "normal"),
        draws={
            "mode": DrawResult(
                num_episodes=5, return_mean=-1.5, return_std=0.1, success_rate=0.8
            ),
        },
        default_draw="mode",
        surprise_quantiles={"0.5": 0.1, "0.99": 1.0 / 3.0},
        files={},
        **derive(CONTRACT, state, E, {}),
    )  # fmt: skip


def write_bundle(
    folder: Path,
    weights: Weights | None = None,
    golden: Golden | None = None,
    family: LatentFamily = "categorical",
) -> Path:
    """Write a whole bundle to `folder`, as an exporter does."""
    weights = make_weights(family=family) if weights is None else weights
    golden = make_golden(weights, family=family) if golden is None else golden
    folder.mkdir(parents=True, exist_ok=True)
    write_graphs(folder, weights, family)
    write_initial(folder, make_initial(family))
    golden.save(folder / "golden.npz")
    write_manifest(folder, make_manifest(family))
    return folder


def reseal(folder: Path, manifest: Manifest | None = None) -> None:
    """Give a folder honest hashes and stamps, of another manifest if one is given."""
    manifest = manifest or make_manifest()
    for name in GRAPHS:
        model = onnx.load(folder / name)
        helper.set_model_props(model, {METADATA: manifest.to_stamp()})
        (folder / name).write_bytes(model.SerializeToString())
    write_manifest(folder, manifest)
