"""A policy bundle in words: what it reads, sends and remembers, and how good it was."""

from robodreamer_deploy.bundle.manifest import Manifest
from robodreamer_deploy.contract import ActionSpec, Signal


def describe(manifest: Manifest) -> list[str]:
    """Return lines that tell everything a robot engineer asks about a policy."""
    contract, state = manifest.contract, manifest.state
    return [
        f"task          {contract.task}",
        f"exported      {manifest.created} by robodreamer {manifest.robodreamer_version}",
        f"trained       run {manifest.run}, commit {manifest.commit}",
        f"rate          {1.0 / contract.control_dt_s:g} Hz (dt {contract.control_dt_s!r} s)",
        *_list("reads", [_describe_signal(signal) for signal in contract.inputs]),
        *_describe_lost_frames(manifest),
        *_list("sends", _describe_action(contract.action)),
        f"remembers     deter {state.deter}, stoch {state.stoch}",
        f"draws         {manifest.default_draw} unless told otherwise",
        *_list("measured", _describe_draws(manifest)),
        *_list("surprise", [f"{q}: {v:.3f} nats" for q, v in manifest.surprise_quantiles.items()]),
        *_list("files", [f"{n:<16} {f.size:>12,} bytes" for n, f in manifest.files.items()]),
    ]


def _describe_lost_frames(manifest: Manifest) -> list[str]:
    """Say what a step without a camera's frame is; nothing where there is no camera."""
    if not any(signal.is_image for signal in manifest.contract.inputs):
        return []
    without = "the model dreams on, the other signals unread"
    if manifest.validity:
        without = f"trained to do without, told by {', '.join(manifest.validity.values())}"
    return [f"lost frames   {without}"]


def _describe_signal(signal: Signal) -> str:
    words = [signal.name, signal.dtype, str(signal.shape), signal.unit]
    if signal.frame:
        words.append(f"in {signal.frame}")
    if signal.num_classes:
        words.append(f"{signal.num_classes} classes")
    if signal.labels:
        words.append(f"({', '.join(signal.labels)})")
    return " ".join(word for word in words if word)


def _describe_action(action: ActionSpec) -> list[str]:
    labels = action.labels or tuple(str(i) for i in range(action.size))
    if action.kind == "discrete":
        return [f"one of {action.size} choices: {', '.join(labels)}"]
    limits = zip(labels, action.low, action.high, strict=True)
    return [f"{label}: {low!r} .. {high!r} {action.unit}".rstrip() for label, low, high in limits]


def _describe_draws(manifest: Manifest) -> list[str]:
    lines: list[str] = []
    for draw, result in manifest.draws.items():
        success = "" if result.success_rate is None else f", success {result.success_rate:.3f}"
        lines.append(
            f"{draw}: return {result.return_mean:.2f} +- {result.return_std:.2f}{success} "
            f"over {result.num_episodes} episodes"
        )
    return lines


def _list(title: str, items: list[str]) -> list[str]:
    """Return one line per item, the first behind `title`."""
    heads = [title, *[""] * len(items)]
    return [f"{head:<14}{item}" for head, item in zip(heads, items or ["unknown"], strict=False)]
