"""Policy folders being written: their place, their contents, and their replacement in one step.

`robodreamer_deploy.policy.bundle` says what every file means, and reads them.
"""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from robodreamer.export.graphs import action_noise_kind, write_graphs
from robodreamer.export.torch_trace import Trace
from robodreamer.learning.agent import Agent
from robodreamer.runs.files import locked
from robodreamer.version import __version__
from robodreamer_deploy.policy.bundle import Bundle, Carry, write_initial
from robodreamer_deploy.policy.golden import Golden
from robodreamer_deploy.policy.graph_spec import (
    GRAPHS,
    StateSpec,
    describe_noise,
    describe_validity,
)
from robodreamer_deploy.policy.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    METADATA,
    Manifest,
    derive,
)
from robodreamer_deploy.policy.policy import SPLIT, Policy
from robodreamer_deploy.utils.atomic_write import sync
from robodreamer_deploy.utils.strict_json import parse_json, read_object

PREPROCESSING_VERSION = 1
"""Raised when the encoder graph treats raw signals in another way."""
GOLDEN_STEPS = 32


class Origin(NamedTuple):
    """Run and commit that an agent comes from."""

    run: str
    commit: str

    def __str__(self) -> str:
        """Return the run's name, and the commit of the code that trained it."""
        return f"{self.run} of commit {self.commit[:7]}" if self.commit else self.run


def write_draft(agent: Agent, folder: Path, *, origin: Origin, opset: int) -> Manifest:
    """Write graphs and initial state; return the manifest with what is known so far."""
    carry = agent.initial_carry(1)
    arrays = [value[0].numpy() for value in (*carry.state, carry.action)]
    state = StateSpec(
        deter=arrays[0].shape, stoch=arrays[1].shape, family=agent.world_model.rssm.latent.family
    )
    token_size = agent.world_model.encoder.size
    validity = describe_validity(agent.contract) if agent.world_model.encoder.validity else {}
    manifest = Manifest(
        format_version=FORMAT_VERSION,
        robodreamer_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        run=origin.run,
        commit=origin.commit,
        contract=agent.contract,
        preprocessing_version=PREPROCESSING_VERSION,
        opset=opset,
        precision="float32",
        reduction=None,
        state=state,
        token_size=token_size,
        validity=validity,
        noise=describe_noise(state, action_noise_kind(agent)),
        draws={},
        default_draw="mode",
        surprise_quantiles={},
        files={},
        **derive(agent.contract, state, token_size, validity),
    )
    write_graphs(agent, folder, opset=opset, graphs=manifest.graphs)
    write_initial(folder, Carry(*arrays))
    return manifest


def stamp(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into the metadata of every graph, should it be parted from its folder."""
    text = manifest.to_stamp()
    for name in GRAPHS:
        model = onnx.load(folder / name)
        onnx.helper.set_model_props(model, {METADATA: text})
        (folder / name).write_bytes(model.SerializeToString())


def unsealed_policy(folder: Path, manifest: Manifest, sequence: str = SPLIT) -> Policy:
    """Load graphs that no manifest vouches for yet.

    Raises:
        BundleError: A graph cannot be loaded, or its tensors are not those of the manifest.
    """
    state, action = manifest.state, manifest.contract.action
    shapes = (state.deter, state.stoch, (action.size,))
    initial = Carry(*(np.zeros(shape, np.float32) for shape in shapes))
    draft = Bundle(folder=folder, manifest=manifest, initial=initial, is_sealed=False)
    return Policy(draft, sequence=sequence)


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
    return golden.rows(max(windows, key=lambda window: leads[window].min()))


def check_target(out: Path, origin: Origin | None = None) -> None:
    """Refuse to replace anything but an older policy, of `origin` if that is given.

    A policy of another format counts as one, so that another release can take its place.

    Raises:
        ValueError: `out` is no folder, holds something that no export put there, or a policy that
            comes from elsewhere.
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
    older = _read_claims(out / MANIFEST)
    if foreign := sorted(names - {MANIFEST, *older.files}):
        raise ValueError(f"{out} holds {', '.join(foreign)}, not of a policy; choose another --out")
    if origin is not None and older.origin != origin:
        raise ValueError(
            f"{out} holds the policy of another run, {older.origin}; choose another --out, or "
            f"--out {out} to replace it"
        )


class _Claims(NamedTuple):
    """Origin and files of a policy folder, from a manifest of any format."""

    origin: Origin
    files: frozenset[str]


def _read_claims(path: Path) -> _Claims:
    """Read as much of a manifest as it takes to know what may be replaced.

    Raises:
        ValueError: It does not even tell which files are its own.
    """
    try:
        data = read_object(parse_json(path.read_text(encoding="utf-8")), "manifest")
        files = read_object(data.get("files"), "files")
    except ValueError as error:  # UnicodeDecodeError is one
        raise ValueError(
            f"{path} is no policy's manifest: {error}; choose another --out"
        ) from error
    origin = Origin(str(data.get("run", "")), str(data.get("commit", "")))
    return _Claims(origin, frozenset(files))


@contextmanager
def draft_of(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that takes its name if nothing fails, and vanishes otherwise.

    Raises:
        ValueError: Another export to `out` is under way.
    """
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft, old = (out.with_name(f".{out.name}.{word}") for word in ("draft", "old"))
    with _claimed(draft, out):
        try:
            _bring_back(old, out)  # an export may have been killed in between
            _empty(draft)
            yield draft
            _replace(out, draft, old)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise


@contextmanager
def _claimed(draft: Path, out: Path) -> Iterator[None]:
    """Make the draft's folder, or take over a dead export's, and keep others out of it."""
    with ExitStack() as stack:
        try:
            draft.mkdir(exist_ok=True)
            found = draft.stat().st_ino
            stack.enter_context(locked(draft))
            is_ours = draft.stat().st_ino == found
        except (ValueError, FileNotFoundError):  # its owner is at work, or has just moved it away
            is_ours = False
        if not is_ours:
            raise ValueError(f"another export to {out} is under way; wait for its end")
        yield


def _replace(out: Path, draft: Path, old: Path) -> None:
    """Let a finished draft take the place of `out`, which stays if that fails."""
    for path in (*draft.iterdir(), draft):
        sync(path)
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.replace(old)
    try:
        draft.replace(out)
    finally:
        _bring_back(old, out)
    sync(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def _bring_back(old: Path, out: Path) -> None:
    """Give a policy its name again, unless another one has it."""
    if old.exists() and not out.exists():
        old.replace(out)


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
