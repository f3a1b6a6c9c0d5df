"""The policy folder as it comes into being: where it may lie, and what goes into it.

`robodreamer_deploy.bundle` says what every file means, and reads them.
"""

import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

import robodreamer
from robodreamer.agent import Agent
from robodreamer.onnx_export.graphs import write_graphs
from robodreamer.onnx_export.traces import Trace
from robodreamer_deploy.bundle import (
    FORMAT_VERSION,
    MANIFEST,
    Bundle,
    Carry,
    Manifest,
    StateShapes,
    write_initial,
)
from robodreamer_deploy.golden import Golden
from robodreamer_deploy.policy import Policy

PREPROCESSING_VERSION = 1
"""Raised when the encoder graph treats raw signals in another way."""
GOLDEN_STEPS = 32


class Origin(NamedTuple):
    """Where an agent comes from."""

    run: str
    commit: str


def write_draft(agent: Agent, folder: Path, *, origin: Origin, opset: int) -> Manifest:
    """Write graphs and initial state; return the manifest as far as it is known."""
    carry = agent.initial_carry(1)
    arrays = [value[0].numpy() for value in (*carry.state, carry.action)]
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        robodreamer_version=robodreamer.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run=origin.run,
        commit=origin.commit,
        contract=agent.contract,
        preprocessing_version=PREPROCESSING_VERSION,
        state=StateShapes(deter=arrays[0].shape, stoch=arrays[1].shape),
        token_size=agent.world_model.encoder.size,
        draws={},
        default_draw="mode",
        surprise_quantiles={},
        files={},
    )
    write_graphs(agent, folder, opset=opset, metadata=_metadata(manifest))
    write_initial(folder, Carry(*arrays))
    return manifest


def unsealed_policy(folder: Path, manifest: Manifest) -> Policy:
    """Load graphs that no manifest vouches for yet.

    Raises:
        BundleError: A graph cannot be loaded, or its tensors are not those of the manifest.
    """
    state, action = manifest.state, manifest.contract.action
    shapes = (state.deter, state.stoch, (action.size,))
    initial = Carry(*(np.zeros(shape, np.float32) for shape in shapes))
    return Policy(Bundle(folder=folder, manifest=manifest, initial=initial))


def choose_golden(trace: Trace) -> Golden:
    """Return the consecutive steps that a robot repeats, around an episode's start if there is one.

    Of all starts the one where the agent was surest, so that another machine's rounding does not
    matter.
    """
    golden = trace.golden
    leads = np.minimum(trace.latent_lead.min(-1), trace.action_lead)
    half = GOLDEN_STEPS // 2
    starts = np.flatnonzero(golden.is_first) - half
    starts = starts[(starts >= 0) & (starts + GOLDEN_STEPS <= len(golden))]
    windows = [slice(start, start + GOLDEN_STEPS) for start in (starts if len(starts) else [0])]
    best = max(windows, key=lambda window: leads[window].min())
    values = {f.name: getattr(golden, f.name) for f in dataclasses.fields(golden)}
    observations = values.pop("observations")
    return Golden(
        observations={name: value[best] for name, value in observations.items()},
        **{name: value[best] for name, value in values.items()},
    )


def check_target(out: Path) -> None:
    """Refuse to replace anything but an older policy.

    Raises:
        ValueError: `out` is no folder, or holds something that no export put there.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"{out} is no folder; choose another --out")
    names = {path.name for path in out.iterdir()}
    if not names:
        return
    if MANIFEST not in names:
        raise ValueError(f"{out} holds files but no policy; choose another --out")
    manifest = Manifest.from_json((out / MANIFEST).read_text(encoding="utf-8"))
    if foreign := sorted(names - {MANIFEST, *manifest.files}):
        raise ValueError(f"{out} holds {', '.join(foreign)}, not of a policy; choose another --out")


@contextmanager
def draft_of(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that takes its name if nothing fails, and vanishes otherwise."""
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft, old = (out.with_name(f".{out.name}.{word}") for word in ("draft", "old"))
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.replace(old)
        draft.replace(out)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _metadata(manifest: Manifest) -> Mapping[str, str]:
    """Return what every graph carries about itself, should it be parted from its manifest."""
    values = {
        "format_version": str(manifest.format_version),
        "robodreamer_version": manifest.robodreamer_version,
        "created": manifest.created,
        "run": manifest.run,
        "commit": manifest.commit,
        "preprocessing_version": str(manifest.preprocessing_version),
        "contract": manifest.contract.to_json(),
    }
    return {f"robodreamer.{key}": value for key, value in values.items()}
