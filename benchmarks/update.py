"""Milliseconds per update and where they go, beside other DreamerV3s in the same run.

    python benchmarks/update.py                       our learner; torchrl too where it is installed
    python benchmarks/update.py --r2dreamer FOLDER    and the `dreamer` variant of a checkout
    python benchmarks/update.py 12m --threads 1 --rounds 5 --json build/update.json

All learners take turns on the same random batch. Peers cannot do everything that we can: each is
compared with our learner set to what the peer does, its partner. Where they still differ, a line
below the table says so.

Peers are not part of `make setup`; compared with are
    torchrl 0.14.1    .venv/bin/pip install torchrl==0.14.1
    r2dreamer         git clone https://github.com/NM512/r2dreamer FOLDER
                      .venv/bin/pip install omegaconf tensordict==0.14.3
Other versions of torchrl may lack what is used of it.
"""

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import torch
from _r2dreamer import R2Dreamer
from _spans import Spans
from _timing import (
    Call,
    describe_commit,
    describe_origin,
    make_parser,
    milliseconds,
    print_table,
    take_turns,
    write_json,
)
from _torchrl import TorchRL
from _workloads import (
    MEASURED,
    WORKLOADS,
    Workload,
    make_batch,
    make_learner,
    make_sampler,
    make_workload,
)

OURS = "robodreamer"
PARTS = ("encode", "observe", "decode", "heads", "imagine", "actor-critic", "backward", "optimizer")


class Contender(Protocol):
    """A learner that can be timed."""

    @property
    def num_parameters(self) -> int:
        """Parameters that it trains."""
        ...

    def update(self) -> None:
        """Learn from the batch once."""
        ...


class Ours:
    """Our learner, which also tells the parts of its updates."""

    def __init__(self, workload: Workload, device: torch.device, dtype: torch.dtype) -> None:
        self._learner = make_learner(workload, device, dtype)
        self._batch, self._draw = make_batch(workload, device), make_sampler(device)
        self._spans = Spans(self._learner, device)
        self.clock = self._spans.clock
        self.parts: list[dict[str, float]] = []

    @property
    def num_parameters(self) -> int:
        """Parameters that it trains."""
        return sum(p.numel() for p in self._learner.agent.parameters() if p.requires_grad)

    def update(self) -> None:
        """Learn from the batch once."""
        self._learner.update(self._batch, self._draw)
        self.parts.append(self._spans.take())


@dataclass(frozen=True)
class Entry:
    """A contender, what it is compared with, and in what they differ."""

    make: Callable[[], Contender]
    partner: str = OURS
    differs: str = ""


def entries(options: argparse.Namespace, workload: Workload) -> dict[str, Entry]:
    """Return who takes part in a workload, by the name in the table."""
    device, dtype = options.device, getattr(torch, options.precision)

    def ours(version: Workload) -> Callable[[], Contender]:
        return lambda: Ours(version, device, dtype)

    found = {OURS: Entry(ours(workload))}
    partners = {}
    for pooling in ("stride", "max"):
        like = workload.like_peers(pooling)
        partners[pooling] = OURS
        if like != workload:
            partners[pooling] = f"{OURS}, {pooling}" if workload.has_images else f"{OURS}, all"
            found[partners[pooling]] = Entry(ours(like), differs=_describe(workload, like))
    if find_spec("torchrl") is not None:
        differs = "picture decoder" if workload.has_images else ""
        found["torchrl"] = Entry(lambda: TorchRL(workload, device), partners["stride"], differs)
    if options.r2dreamer is not None:
        found["r2dreamer"] = Entry(
            lambda: R2Dreamer(options.r2dreamer, workload, device), partners["max"]
        )
    return found


def _describe(workload: Workload, like: Workload) -> str:
    """Say how our own versions differ."""
    changes = []
    if like.network.pooling != workload.network.pooling:
        changes.append({"max": "max-pools", "stride": "strides"}[like.network.pooling])
    if like.protocol.decode_fraction != workload.protocol.decode_fraction:
        changes.append("decodes all")
    if like.algorithm.imagination_last != workload.algorithm.imagination_last:
        changes.append("imagines from all")
    return ", ".join(changes)


def measure(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Let all contenders of a workload take turns; print and return the figures."""
    workload = make_workload(name)
    found = entries(options, workload)
    contenders = {label: entry.make() for label, entry in found.items()}
    updates = {label: contender.update for label, contender in contenders.items()}
    calls = take_turns(updates, options.device, rounds=options.rounds)
    figures = {
        label: _figures(calls[label], calls[entry.partner], contenders[label], entry)
        for label, entry in found.items()
    }
    print(f"\n{name}: {workload.summary}")
    _print_figures(figures)
    ours = contenders[OURS]
    assert isinstance(ours, Ours), ours
    parts = _parts(ours.parts[-options.rounds :])
    row = [f"{ours.clock} ms", *(f"{parts[part]:.1f}" for part in PARTS)]
    print_table([f"of {OURS}", *PARTS], [row])
    return {"workload": workload.summary, "contenders": figures, f"parts_{ours.clock}_ms": parts}


def _figures(
    calls: list[Call], partner: list[Call], contender: Contender, entry: Entry
) -> dict[str, Any]:
    wall, fastest = milliseconds([call.wall_s for call in calls])
    processor, least = milliseconds([call.cpu_s for call in calls])
    pairs = list(zip(calls, partner, strict=True))
    return {
        "parameters": contender.num_parameters,
        "wall_ms": wall,
        "wall_min_ms": fastest,
        "cpu_ms": processor,
        "cpu_min_ms": least,
        "wall_ratio": statistics.median(a.wall_s / b.wall_s for a, b in pairs),
        "cpu_ratio": statistics.median(a.cpu_s / b.cpu_s for a, b in pairs),
        "partner": entry.partner,
        "differs": entry.differs,
    }


def _parts(updates: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of every part, in milliseconds."""
    return {
        part: 1e3 * statistics.median(update.get(part, 0.0) for update in updates) for part in PARTS
    }


def _print_figures(figures: dict[str, Any]) -> None:
    header = ["learner", "weights", "wall ms", "(min)", "cpu ms", "(min)", "x wall", "x cpu"]
    rows = [
        [
            label,
            f"{row['parameters'] / 1e6:.3f}M",
            *(f"{row[key]:.0f}" for key in ("wall_ms", "wall_min_ms", "cpu_ms", "cpu_min_ms")),
            f"{row['wall_ratio']:.2f}",
            f"{row['cpu_ratio']:.2f}",
        ]
        for label, row in figures.items()
    ]
    print_table(header, rows)
    for label, row in figures.items():
        if row["partner"] != label:
            remark = f"; differs: {row['differs']}" if row["differs"] else ""
            print(f"  {label}: x is relative to {row['partner']}{remark}")


def _parse() -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"of {', '.join(WORKLOADS)}; {', '.join(MEASURED)} by default",
    )
    add("--rounds", type=int, default=3, help="timed updates of each learner")
    add("--threads", type=int, default=0, help="CPU threads; torch's choice by default")
    add("--device", type=torch.device, default=None, help="cpu or cuda; a GPU where there is one")
    add("--precision", choices=("float32", "bfloat16"), default="float32", help="of our learner")
    add("--r2dreamer", type=Path, help="a checkout of r2dreamer to compare with")
    options = parser.parse_args()
    options.device = options.device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
    options.workloads = options.workloads or MEASURED
    if unknown := set(options.workloads) - set(WORKLOADS):
        parser.error(f"no workload {', '.join(unknown)}; there is {', '.join(WORKLOADS)}")
    if options.r2dreamer is not None and not (options.r2dreamer / "dreamer.py").is_file():
        parser.error(f"{options.r2dreamer} is no checkout of r2dreamer: it has no dreamer.py")
    return options


def main() -> None:
    """Measure what the command line names."""
    options = _parse()
    if options.threads:
        torch.set_num_threads(options.threads)
    origin = describe_origin(options.device) | {"precision": options.precision}
    if find_spec("torchrl") is None:
        print("torchrl is not installed here, so it is not compared with; see --help")
    if options.r2dreamer is not None:
        origin["r2dreamer"] = describe_commit(options.r2dreamer)
        print(f"r2dreamer {origin['r2dreamer']}")
    figures = {name: measure(options, name) for name in options.workloads}
    write_json(options.json, {**origin, "workloads": figures})


if __name__ == "__main__":
    main()
