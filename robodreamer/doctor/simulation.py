"""Checks of the simulator: does every family of tasks run, what draws, and how fast.

Everything is tried in a child process, which may hang or crash.
"""

from collections.abc import Iterator

from robodreamer.doctor.finding import Finding
from robodreamer.doctor.machine import has_nvidia_driver
from robodreamer_sim.cameras.gl_backend import (
    PROBE_TIMEOUT_S,
    SOFTWARE_HINT,
    VARIABLE,
    WARP,
    Probe,
    back_ends,
    is_software,
    mend,
    named_back_end,
    pick,
    probe,
)
from robodreamer_sim.compat import tested_pair
from robodreamer_sim.probes import run_trial

FAMILIES = {
    "fetch_reach": "gymnasium-robotics",
    "dmc_cartpole_swingup": "dm-control",
    "gym:HalfCheetah-v5": "gymnasium",
}
"""A task of each family, and the distribution that brings it."""
TIMEOUT_S = 60.0


def check_families(timeout_s: float = TIMEOUT_S) -> Iterator[Finding]:
    """Take a step of one task of each family; versions that do not fit together fail there."""
    for task, distribution in FAMILIES.items():
        failure = run_trial("step", task, timeout_s=timeout_s).failure
        if not failure:
            yield Finding(task, "ok", f"runs, as do other tasks of {distribution}")
            continue
        found, _, advice = failure.partition("; ")  # as our own sentences are built
        mended = advice or f"{tested_pair(distribution)} brings versions that work together"
        yield Finding(task, "failure", found, mended)


def check_rendering(timeout_s: float = PROBE_TIMEOUT_S) -> Iterator[Finding]:
    """Draw through every back end that needs no display, and through that of MUJOCO_GL.

    MuJoCo Warp's camera is one of them where it is installed, or wanted.
    """
    named = named_back_end()
    others = [named] if named and named not in back_ends() else []
    probes = [probe(name, timeout_s) for name in [*back_ends(), *others]]
    chosen = pick(probes)
    used = named or (chosen.back_end if chosen else "")
    for probed in probes:
        judge = _judge_working if probed.works else _judge_broken
        yield judge(probed, used, is_named=bool(named))


def _judge_working(probed: Probe, used: str, *, is_named: bool) -> Finding:
    """Judge a back end that draws: is it as fast as it could be?"""
    speed = f"{probed.pictures_per_second:,.0f} pictures of 64x64 per second"
    finding = Finding(_name(probed), "ok", f"{probed.renderer}: {speed}")
    if probed.back_end != used:
        return finding._replace(found=f"{finding.found}; not used")
    if is_software(probed.renderer) and has_nvidia_driver():
        advice = f"unset {VARIABLE}" if is_named and used != "egl" else SOFTWARE_HINT
        return finding._replace(status="warning", advice=advice)
    return finding


def _judge_broken(probed: Probe, used: str, *, is_named: bool) -> Finding:
    """Judge a back end that does not draw: is it wanted, or is there no other?"""
    finding = Finding(_name(probed), "failure", probed.reason, mend(probed.back_end))
    if not used:
        return finding._replace(advice=f"{finding.advice}, or train with --observe proprio")
    if probed.back_end == used:
        ways = dict.fromkeys([finding.advice, f"unset {VARIABLE}"])
        return finding._replace(advice=", or ".join(ways))
    if probed.back_end == "egl" and not is_named:
        return finding._replace(status="warning")
    return finding._replace(status="ok", found=f"{finding.found}; not needed", advice="")


def _name(probed: Probe) -> str:
    return "Warp camera" if probed.back_end == WARP else f"GL: {probed.back_end}"
