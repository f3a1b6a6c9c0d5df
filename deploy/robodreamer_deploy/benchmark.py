"""Benchmark of a policy on this computer: `robodreamer-deploy POLICY --bench`.

A control loop sleeps between its steps, and what was in the processor's caches is gone when it
wakes; a loop without pauses flatters by a factor of two and more. So each figure is taken at the
policy's own rate, and flat out for comparison, on one core and on all that may be used. Inputs are
those of the golden sequence, over and over.
"""

import os
import platform
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np

from robodreamer_deploy.contract import Observation
from robodreamer_deploy.control.clock import Clock, Grid, MonotonicClock
from robodreamer_deploy.drive_summary import QUANTILES, quantiles
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.golden import Golden
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.providers import import_onnxruntime

WARM_UP_STEPS = 10

Milliseconds = dict[str, list[float]]
Tick = Callable[[], dict[str, float]]
"""Runs one control step; returns the seconds of its parts."""


def bench(policy: Policy, golden: Golden, *, seconds: float) -> dict[str, Any]:
    """Measure every part of a step for `seconds` under each condition; return JSON values."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "python": platform.python_version(),
        "onnxruntime": str(import_onnxruntime().__version__),
        "provider": policy.provider,
        "task": policy.bundle.contract.task,
        "rate_hz": 1.0 / policy.bundle.contract.control_dt_s,
        "seconds_each": seconds,
        "conditions": [
            _measure_all(policy, golden, seconds, cores, is_paced=is_paced)
            for cores in _core_sets()
            for is_paced in (True, False)
        ],
    }


def format_bench(figures: Mapping[str, Any]) -> list[str]:
    """Return a table of 80 columns for `bench`."""
    software = f"onnxruntime {figures['onnxruntime']} on {figures['provider']}"
    lines = [
        f"{figures['processor']}, {figures['machine']}, Python {figures['python']}",
        f"{software}; milliseconds, {figures['seconds_each']:g} s each",
    ]
    for condition in figures["conditions"]:
        count = condition["num_cores"]
        cores = "one core" if count == 1 else f"{count} cores"
        pace = f"paced at {figures['rate_hz']:g} Hz" if condition["is_paced"] else "flat out"
        title = f"{cores}, {pace}"
        lines.append(f"{title:<36}" + "".join(f"{name:>10}" for name in QUANTILES))
        for name, found in condition["milliseconds"].items():
            values = "".join(f"{found[q]:>10.3f}" for q in QUANTILES)
            lines.append(f"  {name:<34}{values}")
    return lines


def _measure_all(
    policy: Policy, golden: Golden, seconds: float, cores: set[int], *, is_paced: bool
) -> dict[str, Any]:
    """Return the quantiles of every part of a step under one condition."""
    period_s = policy.bundle.contract.control_dt_s if is_paced else None
    measured: Milliseconds = {}
    with _on_cores(cores):
        for make_tick in (_split, _whole, _parts):
            measured |= _measure(make_tick(policy, golden), seconds, period_s)
    return {
        "num_cores": len(cores),
        "is_paced": is_paced,
        "num_steps": len(measured["sense to act"]),
        "milliseconds": {name: quantiles(values) for name, values in measured.items()},
    }


def _split(policy: Policy, golden: Golden) -> Tick:
    """Time a step as on a robot: what needs no observation is computed after the action is sent."""
    controller, observations = Controller(policy), _observations(golden)

    def tick() -> dict[str, float]:
        begin = time.perf_counter()
        controller.step(next(observations), is_first=False)
        decided = time.perf_counter()
        controller.advance()
        return {
            "sense to act": decided - begin,
            "  then, in the slack": time.perf_counter() - decided,
        }

    return tick


def _whole(policy: Policy, golden: Golden) -> Tick:
    """Time a step that computes everything between sensor and action."""
    controller, observations = Controller(policy), _observations(golden)

    def tick() -> dict[str, float]:
        begin = time.perf_counter()
        controller.step(next(observations), is_first=False)
        return {"sense to act, without the split": time.perf_counter() - begin}

    return tick


def _parts(policy: Policy, golden: Golden) -> Tick:
    """Time every graph by itself, in the order of a step."""
    specs = policy.bundle.manifest.graphs
    values = {
        tensor.value: np.zeros(tensor.shape, tensor.dtype)
        for name in policy.graphs
        for tensor in (*specs[name].inputs, *specs[name].outputs)
    }
    compute = {name: graph.bind(values) for name, graph in policy.graphs.items()}
    observations = _observations(golden)

    def tick() -> dict[str, float]:
        for name, value in next(observations).items():
            np.copyto(values[name][0], value)
        seconds: dict[str, float] = {}
        for name, graph in compute.items():
            begin = time.perf_counter()
            graph()
            seconds[name] = time.perf_counter() - begin
        return seconds

    return tick


def _observations(golden: Golden) -> Iterator[Observation]:
    recorded = golden.observations
    return cycle([{name: recorded[name][i] for name in recorded} for i in range(len(golden))])


def _measure(
    tick: Tick, seconds: float, period_s: float | None, clock: Clock | None = None
) -> Milliseconds:
    """Run ticks for `seconds`, one per period if there is one; return milliseconds by part."""
    for _ in range(WARM_UP_STEPS):
        tick()
    found: Milliseconds = {}
    clock = clock or MonotonicClock()
    grid = None if period_s is None else Grid(clock, period_s)
    end = clock.now() + seconds
    while clock.now() < end:
        for name, duration in tick().items():
            found.setdefault(name, []).append(1e3 * duration)
        if grid is not None:
            grid.advance()
            grid.wait()
    return found


def _core_sets() -> list[set[int]]:
    """Return one core, and all that this process may use; nothing to choose outside Linux."""
    if not hasattr(os, "sched_getaffinity"):
        return [set(range(os.cpu_count() or 1))]
    usable = os.sched_getaffinity(0)
    return [{min(usable)}, usable] if len(usable) > 1 else [usable]


@contextmanager
def _on_cores(cores: set[int]) -> Generator[None, None, None]:
    if not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _processor() -> str:
    """Return the processor's name as Linux tells it; on aarch64 the board's."""
    for path, key in (("/proc/device-tree/model", None), ("/proc/cpuinfo", "model name")):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:  # noqa: PTH123
                text = file.read()
        except OSError:
            continue
        if key is None:
            return text.strip("\0\n ")
        for line in text.splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
