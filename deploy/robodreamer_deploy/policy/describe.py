"""Description of a policy bundle: what it reads, sends and remembers, and how good it was."""

import textwrap
from collections.abc import Iterable

from robodreamer_deploy.contract import ActionSpec, Camera, Signal
from robodreamer_deploy.joint_mapping import JointMapping
from robodreamer_deploy.policy.manifest import DrawResult, Manifest, Reduction

WIDTH = 80
INDENT = 14  # of what stands beside a title


def describe(manifest: Manifest) -> list[str]:
    """Return lines of 80 columns that tell everything a robot engineer asks about a policy."""
    contract, state = manifest.contract, manifest.state
    rows = [
        ("task", [contract.task]),
        ("exported", [f"{manifest.created} by robodreamer {manifest.robodreamer_version}"]),
        ("trained", [f"run {manifest.run}", f"commit {manifest.commit or 'unknown'}"]),
        ("rate", [f"{1.0 / contract.control_dt_s:g} Hz (dt {contract.control_dt_s!r} s)"]),
        ("reads", [line for signal in contract.inputs for line in _signal(signal)]),
        ("cameras", [line for camera in contract.cameras for line in _camera(camera, manifest)]),
        ("lost frames", _lost_frames(manifest)),
        ("sends", _action(contract.action)),
        ("delays", _delays(manifest)),
        ("remembers", [f"deter {state.deter}, stoch {state.stoch}"]),
        ("latents", [_latents(manifest)]),
        ("draws", [f"{manifest.default_draw} unless told otherwise", _action_noise(manifest)]),
        ("measured", [f"{draw}: {_result(result)}" for draw, result in manifest.draws.items()]),
        ("surprise", [f"{q}: {v:.3f} nats" for q, v in manifest.surprise_quantiles.items()]),
        ("precision", _precision(manifest)),
        ("graphs", [f"opset {manifest.opset}, preprocessing {manifest.preprocessing_version}"]),
        ("", [f"{name}: {', '.join(graphs)}" for name, graphs in manifest.sequences.items()]),
        ("files", [line for name in sorted(manifest.files) for line in _file(manifest, name)]),
    ]
    return [line for title, items in rows for line in _lines(title, items)]


def _lost_frames(manifest: Manifest) -> list[str]:
    """Say what a step without a camera's frame is; nothing where there is no camera."""
    if not any(signal.is_image for signal in manifest.contract.inputs):
        return []
    if manifest.validity:
        return [f"trained to do without, told by {', '.join(manifest.validity.values())}"]
    return ["the model dreams on, the other signals unread"]


def _signal(signal: Signal) -> list[str]:
    """Return what a signal is, and under it its elements with their limits."""
    words = [signal.name, signal.dtype, str(signal.shape), signal.unit]
    if signal.frame:
        words.append(f"in {signal.frame}")
    if signal.num_classes:
        words.append(f"{signal.num_classes} classes")
    if signal.rate_hz is not None:
        words.append(f"at {signal.rate_hz!r} Hz")
    if signal.max_age_s is not None:
        words.append(f"at most {signal.max_age_s!r} s old")
    if signal.labels and signal.low is None:
        words.append(f"({', '.join(signal.labels)})")
    head = " ".join(word for word in words if word)
    if signal.low is None or signal.high is None:
        return [head]
    labels = signal.labels or tuple(str(i) for i in range(signal.num_elements))
    limits = zip(labels, signal.low, signal.high, strict=True)
    return [head, *(f"  {label}: {low!r} .. {high!r}" for label, low, high in limits)]


def _camera(camera: Camera, manifest: Manifest) -> list[str]:
    """Return how a camera projects, and under it where it stands."""
    words = [f"{camera.signal} {camera.color_order}"]
    if camera.mount:
        words.append(f"on {camera.mount}")
    if camera.fovy_rad is not None:
        words.append(f"vertical field of view {camera.fovy_rad!r} rad")
    pinhole = manifest.pinholes.get(camera.signal)
    if pinhole is not None:
        words.append(f"fx {pinhole.fx:g} fy {pinhole.fy:g} cx {pinhole.cx:g} cy {pinhole.cy:g}")
    if camera.depth_range_m is not None:
        words.append(f"255 is {camera.depth_range_m!r} m away")
    return [", ".join(words), *(f"  {line}" for line in camera_pose(camera))]


def camera_pose(camera: Camera) -> list[str]:
    """Return where a camera stands and how it is turned, in both conventions of its axes."""
    if camera.position is None or camera.quaternion is None or camera.opencv_quaternion is None:
        return ["place unknown"]
    return [
        f"at {_numbers(camera.position)} m in the frame {camera.frame}",
        f"wxyz {_numbers(camera.quaternion)} (MuJoCo, OpenGL: looks along -z, y up)",
        f"wxyz {_numbers(camera.opencv_quaternion)} (OpenCV, ROS: looks along z, y down)",
    ]


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.5g}" for value in values)


def _action(action: ActionSpec) -> list[str]:
    labels = action.labels or tuple(str(i) for i in range(action.size))
    if action.kind == "discrete":
        return [f"one of {action.size} choices: {', '.join(labels)}"]
    limits = zip(labels, action.low, action.high, element_words(action), strict=True)
    return [
        f"{action.size} numbers in [-1, 1], which stand for",
        *(f"  {label}: {low!r} .. {high!r} {words}".rstrip() for label, low, high, words in limits),
        *(mapping_words(action.mapping) if action.mapping is not None else ()),
    ]


def element_words(action: ActionSpec) -> list[str]:
    """Return unit and kind of every element's value, such as `m, displacement in world`."""
    units = action.units or ("",) * action.size
    quantities = action.quantities or ("unknown",) * action.size
    frames = action.frames or ("",) * action.size
    return [_element(*words) for words in zip(units, quantities, frames, strict=True)]


def _element(unit: str, quantity: str, frame: str) -> str:
    if quantity == "displacement":
        where = f" in {frame}" if frame not in ("", "joint") else ""
        kind = f"displacement per period{where}"
    else:
        kind = "of unknown kind" if quantity == "unknown" else quantity
    return f"{unit}, {kind}" if unit else kind


def mapping_words(mapping: JointMapping) -> list[str]:
    """Return how an action that is a change becomes what the actuators are sent."""
    lines = [f"added to {mapping.signal} as measured, and sent as"]
    if mapping.chain is not None:
        chain = mapping.chain
        joints = ", ".join(link.joint for link in chain.links)
        way = f"moving {chain.frame} by {joints}, {chain.max_step:g} rad or m at most"
        lines = [f"{way}, from {mapping.signal} as measured; sent as"]
    return lines + [
        f"  {target.label}: {target.low!r} .. {target.high!r} "
        f"{_element(target.unit, target.quantity, '')}"
        for target in mapping.targets
    ]


def _delays(manifest: Manifest) -> list[str]:
    if not manifest.contract.delays_s:
        return ["none in training"]
    delays = manifest.contract.delays_s.items()
    return [f"{name}: {low!r} .. {high!r} s" for name, (low, high) in delays]


def _latents(manifest: Manifest) -> str:
    words = manifest.state.latents.describe(manifest.state.stoch)
    return f"{words}, sampled with {manifest.noise['noise_stoch']} noise"


def _action_noise(manifest: Manifest) -> str:
    return f"an action is sampled with {manifest.noise['noise_action']} noise"


def _result(result: DrawResult) -> str:
    success = "" if result.success_rate is None else f", success {result.success_rate:.3f}"
    return (
        f"return {result.return_mean:.2f} +- {result.return_std:.2f}{success} "
        f"over {result.num_episodes} episodes"
    )


def _precision(manifest: Manifest) -> list[str]:
    """Return what the weights are kept in, and what that cost."""
    cost = manifest.reduction
    if cost is None:
        return [manifest.precision]
    low, high = cost.float32_interval
    return [
        f"{manifest.precision}",
        latent_cost(cost),
        f"action off by {cost.action_error:.3f} at most",
        *(f"float32 {draw}: {_result(result)}" for draw, result in cost.float32_draws.items()),
        f"float32's return, 95 % within {low:.2f} .. {high:.2f}"
        + ("; a return below it was accepted" if cost.is_loss_accepted else ""),
    ]


def latent_cost(cost: Reduction) -> str:
    """Return the cost of reduced precision: flips of latents, or the error of Gaussian ones."""
    if cost.num_choices:
        return f"{cost.flip_rate:.2%} of {cost.num_choices:,} latents in another class"
    return f"latents off by {cost.latent_error:.3f} at most"


def _file(manifest: Manifest, name: str) -> list[str]:
    record = manifest.files[name]
    return [f"{name:<16} {record.size:>12,} bytes, sha256", f"  {record.sha256}"]


def _lines(title: str, items: Iterable[str]) -> list[str]:
    """Return items beside their title, each on as many lines as it needs; `unknown` if none."""
    lines: list[str] = []
    for item in [item for item in items if item] or ["unknown"]:
        indent = " " * (len(item) - len(item.lstrip()))
        wrapped = textwrap.wrap(
            item, WIDTH - INDENT, break_on_hyphens=False, subsequent_indent=f"{indent}  "
        )
        lines.extend(wrapped)
    heads = [title, *[""] * len(lines)]
    return [f"{head:<{INDENT}}{line}".rstrip() for head, line in zip(heads, lines, strict=False)]
