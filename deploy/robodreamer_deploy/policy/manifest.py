"""The manifest: what a bundle's files mean, what the policy is, and how good it was.

`manifest.json` holds exactly the fields of `Manifest`; so does the metadata of every graph, without
the files' hashes. Floats are written by repr and read back to the bit.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from robodreamer_deploy.contract import Contract
from robodreamer_deploy.policy.graph_spec import (
    ACTION_NOISE,
    DREAM,
    FEEDBACK,
    MAX_ELEMENTS,
    SEQUENCES,
    GraphSpec,
    StateSpec,
    describe_graphs,
    describe_validity,
)
from robodreamer_deploy.policy.noise import NoiseKind
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record

FORMAT_VERSION = 4
MANIFEST = "manifest.json"
METADATA = "robodreamer.manifest"
"""Under this key the metadata of every graph holds the manifest."""
MAX_FILE_BYTES = 8 << 30
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 1e-3, 10.0
"""Range of control periods. Python cannot keep a shorter one; with a longer one a command stands
longer than a robot should be left to it."""

ActionSelection = Literal["mode", "sample"]
ACTION_SELECTIONS: tuple[ActionSelection, ...] = ("mode", "sample")
Precision = Literal["float32", "int8", "float16"]


@dataclass(frozen=True, kw_only=True)
class DrawResult:
    """Closed-loop result of one way of drawing, measured when the policy was exported."""

    num_episodes: int
    return_mean: float
    return_std: float
    success_rate: float | None
    """None if the task does not know success."""


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """Fingerprint of one file of the bundle."""

    size: int
    """Size in bytes."""
    sha256: str
    """SHA-256 in lower-case hexadecimal."""


@dataclass(frozen=True, kw_only=True)
class ActionMap:
    """From the policy's action to actuator values: offset + scale * action, element by element."""

    scale: tuple[float, ...]
    """Half of every actuator's range; empty for a discrete action."""
    offset: tuple[float, ...]
    """The middle of it."""


@dataclass(frozen=True, kw_only=True)
class Pinhole:
    """Pinhole projection of a camera: u = fx x / z + cx, v = fy y / z + cy.

    x points to the right, y down, z ahead; the picture's upper left corner is (0, 0), so that the
    first pixel's middle is (0.5, 0.5). Nothing is cropped, nothing is distorted.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """Cost of reduced precision: the policy compared with the float32 one it comes from."""

    num_choices: int
    """Categorical latents drawn on recorded steps, each from the state that the float32 agent
    had; 0 of another family."""
    flip_rate: float
    """Share of them that fell into another class, ties aside; 0 where there are none."""
    latent_error: float
    """Largest error of a Gaussian's latents from the same states, relative above 1; 0 of another
    family."""
    action_error: float
    """Largest difference of an action in the same state."""
    golden_flip_rate: float
    """Flip rate of the golden steps, on the machine that exported; like the next two, `selftest`
    derives its bound from it."""
    golden_latent_error: float
    """Latent error of the golden steps, on the machine that exported."""
    golden_action_error: float
    """Action error of the golden steps, on the machine that exported."""
    float32_draws: Mapping[str, DrawResult]
    """Closed-loop results of the float32 policy on the same episodes."""
    float32_interval: tuple[float, float]
    """95 % interval of its mean return, with the draw that is the default."""
    is_loss_accepted: bool
    """True if the exporter was told to go on with a return below that interval."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that is known about an exported policy."""

    format_version: int
    """Version of the bundle's layout."""
    robodreamer_version: str
    created: str
    """Time of the export, ISO 8601 in UTC."""
    run: str
    """Name of the training run."""
    commit: str
    """Commit of the code that trained it."""
    contract: Contract
    """Signals, action and rate; privileged signals may be listed, the graphs do not read them."""
    action_map: ActionMap
    """The contract's limits, as scale and offset."""
    pinholes: Mapping[str, Pinhole]
    """Geometry of the cameras whose field of view is known, by signal."""
    preprocessing_version: int
    """Version of what the encoder does to raw signals: scaling, symlog, order of keys."""
    opset: int
    """ONNX operator set of the graphs."""
    precision: Precision
    """Precision of the weights; inputs and outputs are those of `graphs`."""
    reduction: Reduction | None
    """Cost of reduced precision; None in float32."""
    state: StateSpec
    token_size: int
    """Elements E of the encoder's output."""
    validity: Mapping[str, str]
    """Name, by camera, of the value that marks its frame as there: where it is false, what the
    picture holds does not matter. Empty if the policy was not trained to do without frames."""
    graphs: Mapping[str, GraphSpec]
    """Tensors of every graph, by file name."""
    sequences: Mapping[str, tuple[str, ...]]
    """Orders in which to run graphs; each is a whole step."""
    feedback: Mapping[str, str]
    """Value of a step that each value of the next one is; the action is the executed one."""
    dream: Mapping[str, str]
    """Replacements of values in a step without an observation."""
    noise: Mapping[str, NoiseKind]
    """Distribution of every noise value, element by element; zeros take the mode. That of the
    latents follows from their family, that of the action from how the agent draws it."""
    draws: Mapping[str, DrawResult]
    """Closed-loop result by draw, `mode` and `sample`; empty if not measured."""
    default_draw: ActionSelection
    """The draw that achieved more."""
    surprise_quantiles: Mapping[str, float]
    """Surprise in nats seen in evaluation, by quantile such as `0.99`; empty if not measured."""
    files: Mapping[str, FileRecord]
    """Every other file of the bundle, by name."""

    def __post_init__(self) -> None:
        """Refuse values that no exported policy has."""
        if self.format_version != FORMAT_VERSION:
            raise ValueError(_other_version(self.format_version))
        if unknown := sorted(set(self.draws) - set(ACTION_SELECTIONS)):
            raise ValueError(f"unknown draws {unknown}; there are {', '.join(ACTION_SELECTIONS)}")
        if (self.reduction is None) != (self.precision == "float32"):
            raise ValueError(f"precision {self.precision} and reduction contradict each other")
        self._check_sizes()
        self._check_files()
        self._check_noise()
        self._check_derived()

    def _check_sizes(self) -> None:
        period_s = self.contract.control_dt_s
        if not SHORTEST_PERIOD_S <= period_s <= LONGEST_PERIOD_S:
            raise ValueError(
                f"a control period of {period_s!r} s; robots are driven with {SHORTEST_PERIOD_S} "
                f"to {LONGEST_PERIOD_S:g} s"
            )
        if not 1 <= self.token_size <= MAX_ELEMENTS:
            raise ValueError(f"token_size is {self.token_size}")
        if self.contract.action.size > MAX_ELEMENTS:
            raise ValueError(f"an action of {self.contract.action.size} elements")
        for signal in self.contract.inputs:
            if signal.num_elements > MAX_ELEMENTS:
                raise ValueError(f"{signal.name} of shape {signal.shape}")
            for what, number in {"rate_hz": signal.rate_hz, "max_age_s": signal.max_age_s}.items():
                if number is not None and number <= 0.0:
                    raise ValueError(f"{signal.name} has a {what} of {number}")

    def _check_files(self) -> None:
        for name, record in self.files.items():
            if name == MANIFEST or not _is_plain_name(name):
                raise ValueError(f"file name {name!r} leaves the bundle")
            if not 0 <= record.size <= MAX_FILE_BYTES:
                raise ValueError(f"{name} of {record.size} bytes")

    def _check_noise(self) -> None:
        allowed = {
            "noise_stoch": (self.state.latents.noise_kind,),
            "noise_action": ACTION_NOISE[self.contract.action.kind],
        }
        if self.noise.keys() != allowed.keys():
            raise ValueError(f"noise has {sorted(self.noise)}, expected {sorted(allowed)}")
        for name, kinds in allowed.items():
            if self.noise[name] not in kinds:
                raise ValueError(f"{name} is {self.noise[name]}, expected {' or '.join(kinds)}")

    def _check_derived(self) -> None:
        if self.validity not in ({}, describe_validity(self.contract)):
            raise ValueError(f"validity is {self.validity}, expected a bit of every camera or none")
        derived = derive(self.contract, self.state, self.token_size, self.validity)
        for name, value in derived.items():
            if not _agree(getattr(self, name), value):
                raise ValueError(f"{name} is not what follows from contract and state")

    def to_json(self) -> str:
        """Return the manifest as JSON text. Floats are written by repr and read back exactly."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"

    def to_stamp(self) -> str:
        """Return what the metadata of every graph holds: the manifest without the files' hashes."""
        return dataclasses.replace(self, files={}).to_json()

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Rebuild a manifest from its JSON text; every field must be there, and no other.

        Raises:
            ValueError: Another version, or a missing, unknown or malformed field.
        """
        data = dict(read_object(parse_json(text), "manifest"))
        version = data.get("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(_other_version(version))
        if "contract" in data:
            data["contract"] = Contract.from_dict(read_object(data["contract"], "contract"))
        return read_record(cls, data, "manifest")


def derive(
    contract: Contract, state: StateSpec, token_size: int, validity: Mapping[str, str]
) -> dict[str, Any]:
    """Return the manifest's fields that follow from others, written for whoever reads only it."""
    return {
        "action_map": _action_map(contract),
        "pinholes": _pinholes(contract),
        "graphs": describe_graphs(contract, state, token_size, validity),
        "sequences": SEQUENCES,
        "feedback": FEEDBACK,
        "dream": DREAM,
    }


def _action_map(contract: Contract) -> ActionMap:
    pairs = list(zip(contract.action.low, contract.action.high, strict=True))
    return ActionMap(
        scale=tuple((high - low) / 2 for low, high in pairs),
        offset=tuple((high + low) / 2 for low, high in pairs),
    )


def _pinholes(contract: Contract) -> dict[str, Pinhole]:
    """Return the projection of every camera whose vertical field of view is known."""
    result: dict[str, Pinhole] = {}
    for camera in contract.cameras:
        if camera.fovy_rad is None or not 0.0 < camera.fovy_rad < math.pi:
            continue
        height, width = contract[camera.signal].shape[:2]
        focal = height / 2 / math.tan(camera.fovy_rad / 2)
        result[camera.signal] = Pinhole(
            width=width, height=height, fx=focal, fy=focal, cx=width / 2, cy=height / 2
        )
    return result


def _agree(actual: object, expected: object) -> bool:
    """Return whether two values agree, up to the last digits of another machine's tangent."""
    if isinstance(expected, Mapping):
        pairs = cast("Mapping[str, object]", expected)
        others = cast("Mapping[str, object]", actual)
        return pairs.keys() == others.keys() and all(_agree(others[k], pairs[k]) for k in pairs)
    if isinstance(expected, Pinhole):
        both = zip(
            dataclasses.astuple(cast("Pinhole", actual)), dataclasses.astuple(expected), strict=True
        )
        return all(math.isclose(one, other, rel_tol=1e-12) for one, other in both)
    return actual == expected


def _other_version(version: object) -> str:
    return (
        f"bundle format {version!r}; this release reads {FORMAT_VERSION}: export the run again "
        "with this release, or install the release that exported it"
    )


def _is_plain_name(name: str) -> bool:
    return name not in {"", ".", ".."} and not set(name) & set("/\\\0")
