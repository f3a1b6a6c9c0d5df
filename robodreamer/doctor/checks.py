"""Checks of a machine, each of which yields findings."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from robodreamer_deploy.control.realtime import real_time
from robodreamer_sim.utils.cores import num_usable_cores

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from robodreamer_sim.cameras.gl_backend import BackEndProbe

Status = Literal["ok", "warning", "failure"]
EXTRAS = ("sim", "train")
"""Extras of robodreamer that training needs."""
FAMILIES = {
    "fetch_reach": "gymnasium-robotics",
    "dmc_cartpole_swingup": "dm-control",
    "gym:HalfCheetah-v5": "gymnasium",
}
"""A task of each family, and the distribution that it comes from."""
FAMILY_TIMEOUT_S = 60.0
GIB = 2**30
LEAST_MEMORY = 2 * GIB
"""Libraries, learner, replay and one worker of the smallest size; see RESULTS.md."""
LEAST_DISK, AMPLE_DISK = GIB, 10 * GIB
"""A checkpoint, and the replay that each holds: 100,000 pictures of 64x64 take 1.4 GB."""
LIMITS = "/etc/security/limits.d/robodreamer.conf"


class Finding(NamedTuple):
    """Result of one check."""

    name: str
    status: Status
    """`failure`: something that is installed cannot be used. `warning`: everything can be used, but
    slower or with less than it could."""
    found: str
    advice: str = ""
    """The remedy; empty where none is needed."""


def check_packages() -> Iterator[Finding]:
    """Compare the versions of all packages with the metadata of robodreamer."""
    if find_spec("packaging") is None:
        advice = "pip install --force-reinstall onnxruntime"
        yield Finding("packaging", "failure", "not installed; onnxruntime brings it", advice)
        return
    try:
        python, lines = metadata("robodreamer")["Requires-Python"], requires("robodreamer") or []
    except PackageNotFoundError:
        found = "robodreamer is not installed, so its requirements are unknown"
        yield Finding("packages", "warning", found, "pip install -e . in its checkout")
        return
    yield _compare("Python", platform.python_version(), python)
    missing = []
    for requirement in _required(lines):
        name, wanted = requirement.name, str(requirement.specifier)
        try:
            yield _compare(name, version(name), wanted)
        except PackageNotFoundError:
            if requirement.marker:
                missing.append(name)
            else:
                yield Finding(name, "failure", "not installed", f"pip install '{name}{wanted}'")
    if missing:
        found = f"not installed: {', '.join(missing)}"
        advice = "pip install 'robodreamer[train]' to train here; a robot needs none of it"
        yield Finding("training", "warning", found, advice)


def _required(lines: list[str]) -> "Iterator[Requirement]":
    """Yield each requirement of driving and of training once, without robodreamer's own extras."""
    from packaging.requirements import Requirement

    seen = {"robodreamer"}
    for requirement in map(Requirement, lines):
        marker = requirement.marker
        is_wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in EXTRAS)
        if is_wanted and requirement.name not in seen:
            seen.add(requirement.name)
            yield requirement


def _compare(name: str, installed: str, wanted: str) -> Finding:
    """Compare an installed version, such as `2.13.0+cpu`, with a range, such as `<4,>=3.17`."""
    from packaging.specifiers import SpecifierSet

    ordered = ", ".join(sorted(wanted.split(","), reverse=True))  # >= goes before <
    if SpecifierSet(wanted).contains(installed, prereleases=True):
        return Finding(name, "ok", f"{installed} ({ordered})")
    advice = "install another Python" if name == "Python" else f"pip install '{name}{wanted}'"
    return Finding(name, "failure", f"{installed}, but {ordered} is needed", advice)


def check_families(timeout_s: float = FAMILY_TIMEOUT_S) -> Iterator[Finding]:
    """Take a step of one task of each family; incompatible versions of its packages fail there."""
    from robodreamer_sim.compat import tested_pair
    from robodreamer_sim.utils.probe_process import run_probe

    for task, distribution in FAMILIES.items():
        failure = run_probe("step", task, timeout_s=timeout_s).failure
        if not failure:
            yield Finding(task, "ok", f"runs, as do other tasks of {distribution}")
            continue
        found, _, advice = failure.partition("; ")  # as the messages of robodreamer_sim are built
        remedy = advice or f"{tested_pair(distribution)} brings versions that work together"
        yield Finding(task, "failure", found, remedy)


def check_rendering() -> Iterator[Finding]:
    """Draw through each back end that needs no display, and through the one of MUJOCO_GL.

    MuJoCo Warp's camera is among them where it is installed or named.
    """
    from robodreamer_sim.cameras import gl_backend

    named = gl_backend.named_back_end()
    others = [named] if named and named not in gl_backend.back_ends() else []
    probes = [gl_backend.probe_back_end(name) for name in [*gl_backend.back_ends(), *others]]
    chosen = gl_backend.pick(probes)
    used = named or (chosen.back_end if chosen else "")
    for probe in probes:
        describe = _describe_working if probe.works else _describe_broken
        yield describe(probe, used, is_named=bool(named))


def _describe_working(probe: "BackEndProbe", used: str, *, is_named: bool) -> Finding:
    """Return the speed of a back end; software that draws in place of a GPU is a warning."""
    from robodreamer_sim.cameras.gl_backend import SOFTWARE_HINT, VARIABLE, is_software

    speed = f"{probe.pictures_per_second:,.0f} pictures of 64x64 per second"
    finding = Finding(_back_end_name(probe), "ok", f"{probe.renderer}: {speed}")
    if probe.back_end != used:
        return finding._replace(found=f"{finding.found}; not used")
    if is_software(probe.renderer) and has_nvidia_driver():
        advice = f"unset {VARIABLE}" if is_named and used != "egl" else SOFTWARE_HINT
        return finding._replace(status="warning", advice=advice)
    return finding


def _describe_broken(probe: "BackEndProbe", used: str, *, is_named: bool) -> Finding:
    """Return the reason why a back end fails; a failure if it is named or there is no other."""
    from robodreamer_sim.cameras.gl_backend import VARIABLE, mend

    finding = Finding(_back_end_name(probe), "failure", probe.reason, mend(probe.back_end))
    if not used:
        return finding._replace(advice=f"{finding.advice}, or train with --observe proprio")
    if probe.back_end == used:
        ways = dict.fromkeys([finding.advice, f"unset {VARIABLE}"])
        return finding._replace(advice=", or ".join(ways))
    if probe.back_end == "egl" and not is_named:
        return finding._replace(status="warning")
    return finding._replace(status="ok", found=f"{finding.found}; not needed", advice="")


def _back_end_name(probe: "BackEndProbe") -> str:
    return "Warp camera" if probe.back_end == "warp" else f"GL: {probe.back_end}"


def check_simulation() -> Iterator[Finding]:
    """Check tasks and rendering where a simulator is installed."""
    if any(find_spec(package) is None for package in ("numpy", "mujoco", "gymnasium")):
        yield Finding("simulation", "ok", "not installed, so not examined")
        return
    yield from check_families()
    yield from check_rendering()


def check_gpu() -> Finding:
    """Ask torch for a GPU; training works without one."""
    if find_spec("torch") is None:
        return Finding("GPU", "ok", "not looked for, as torch is not installed")
    try:
        import torch
    except (ImportError, OSError) as error:
        advice = "pip install --force-reinstall torch"
        return Finding("GPU", "failure", f"torch cannot be imported: {error}", advice)
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        found = ", ".join(f"{gpu.name}, {gpu.total_memory / GIB:.0f} GiB" for gpu in gpus)
        return Finding("GPU", "ok", found)
    if not has_nvidia_driver():
        return Finding("GPU", "ok", "none from NVIDIA; training runs on the processor")
    build = "is built without CUDA" if torch.version.cuda is None else "cannot use it"
    advice = f"pip install --force-reinstall torch=={torch.__version__.partition('+')[0]}"
    return Finding("GPU", "warning", f"NVIDIA's driver is there, but torch {build}", advice)


def has_nvidia_driver() -> bool:
    """Return whether NVIDIA's driver is loaded and this process may use it."""
    return Path("/dev/nvidiactl").exists()


def check_cores() -> Finding:
    """Count the cores that this process may use."""
    usable, total = num_usable_cores(), os.cpu_count() or 1
    finding = Finding("cores", "ok", f"{usable} of {total}")
    if usable > 1:
        return finding
    advice = "learning and simulating take turns; give it two"
    return finding._replace(status="warning", advice=advice)


def check_memory() -> Finding:
    """Look up the memory that is free, or can be freed without swapping."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = {name: int(size.split()[0]) * 1024 for name, size in (x.split(":") for x in lines)}
    free, total = sizes["MemAvailable"], sizes["MemTotal"]
    finding = Finding("memory", "ok", f"{free / GIB:.1f} of {total / GIB:.1f} GiB free")
    if free >= LEAST_MEMORY:
        return finding
    advice = "training needs 2 GiB at least: end something else, or add memory"
    return finding._replace(status="warning", advice=advice)


def check_real_time() -> Finding:
    """Request the privileges of the control loop, and give them back."""
    with real_time() as privileges:
        found = "; ".join(f"{p.name}: {p.detail}" for p in privileges if p.name != "gc")
    if all(privilege.is_granted for privilege in privileges):
        return Finding("real time", "ok", found)
    advice = (
        "training needs neither; on a robot's computer, put the lines `USER - rtprio 80` and "
        f"`USER - memlock unlimited` into {LIMITS} and log in again"
    )
    return Finding("real time", "warning", found, advice)


def check_disk(folder: Path = Path()) -> Finding:
    """Look up the free space of the folder that runs are written to."""
    free = shutil.disk_usage(folder).free
    finding = Finding("disk", "ok", f"{free / GIB:.1f} GiB free in {folder.absolute()}")
    if not os.access(folder, os.W_OK):
        return Finding("disk", "failure", f"{folder.absolute()} is not writable", "go to another")
    if free >= AMPLE_DISK:
        return finding
    advice = "a run keeps its replay, several GB: make room, or use --run elsewhere"
    status = "warning" if free >= LEAST_DISK else "failure"
    return finding._replace(status=status, advice=advice)


def check_machine() -> Iterator[Finding]:
    """Check graphics card, cores, memory, real-time privileges and disk."""
    for check in (check_gpu, check_cores, check_memory, check_real_time, check_disk):
        yield check()
