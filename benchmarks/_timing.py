"""Timing that stays fair on a machine that others use too.

Contenders take turns, one call each, so that a slow spell hits all of them. Of every call both the
time on the clock and the processor time are kept: the latter also counts the call's own threads,
but nobody else's.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

PACKAGES = ("torch", "numpy", "torchrl", "tensordict")


def make_parser(docstring: str | None) -> argparse.ArgumentParser:
    """Return a command line whose help is the benchmark's own description."""
    parser = argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


class Call(NamedTuple):
    """How long one call took, in seconds."""

    wall_s: float
    cpu_s: float


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done what it was given; on a CPU there is nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_call(function: Callable[[], object], device: torch.device) -> Call:
    """Call once, to the end of its work on the device."""
    synchronize(device)
    cpu, wall = time.process_time(), time.perf_counter()
    function()
    synchronize(device)
    return Call(time.perf_counter() - wall, time.process_time() - cpu)


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    device: torch.device,
    *,
    rounds: int,
    warmup: int = 2,
) -> dict[str, list[Call]]:
    """Call every contender once per round; return the calls after `warmup` rounds, by name."""
    calls: dict[str, list[Call]] = {name: [] for name in contenders}
    for number in range(warmup + rounds):
        for name, function in contenders.items():
            call = time_call(function, device)
            if number >= warmup:
                calls[name].append(call)
    return calls


def milliseconds(seconds: Sequence[float]) -> tuple[float, float]:
    """Return median and minimum in milliseconds."""
    return 1e3 * statistics.median(seconds), 1e3 * min(seconds)


def describe_origin(device: torch.device, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """Print and return what figures depend on besides the command: machine, commit, versions."""
    origin = {
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "commit": describe_commit(Path(__file__).parent),
        "packages": {name: found for name in packages if (found := _version(name))},
    }
    versions = ", ".join(f"{name} {found}" for name, found in origin["packages"].items())
    print(f"{origin['machine']}, {origin['threads']} threads")
    print(f"commit {origin['commit']}, {versions}")
    return origin


def describe_commit(checkout: Path) -> str:
    """Return the commit of a checkout, `-dirty` where files differ from it."""
    command = ["git", "-C", str(checkout), "describe"]
    command += ["--always", "--dirty", "--abbrev=40", "--exclude=*"]
    if shutil.which("git") is None:
        return "unknown"
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "name" in line]
        if info.exists()
        else []
    )
    return f"{len(names) or '?'} cores of {names[0] if names else platform.processor()}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as they need; the first is text, the others are aligned right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write the figures, where a file is wanted."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=2) + "\n")
