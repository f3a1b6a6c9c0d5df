"""Prove that what a robot installs exists for its processor, before anybody stands beside it.

For every computer below, pip resolves the base package and the robot's extras from wheels alone,
within constraints.txt, as it would on that computer; nothing is installed. A package without a
wheel for it, or without an exact version in constraints.txt, is a failure that is named.
"""

import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXTRAS = ("log", "zmq", "dynamixel", "camera")
"""What may be installed on a robot beyond numpy and onnxruntime."""


class Computer(NamedTuple):
    """Whose wheels are asked for: CPython on Linux for aarch64."""

    name: str
    python: str
    glibc: int  # minor version of its C library, 2.x


COMPUTERS = (
    Computer("Jetson, JetPack 6 (Ubuntu 22.04)", "3.10", 35),
    Computer("Raspberry Pi OS 12 (Debian 12)", "3.11", 36),
    Computer("Jetson, JetPack 7 (Ubuntu 24.04)", "3.12", 39),
)


def main() -> None:
    """Resolve for every computer; exit with 1 if one of them would be left without a wheel."""
    wanted = robot_requirements()
    faults = [fault for computer in COMPUTERS for fault in check(computer, wanted)]
    for fault in faults:
        print(f"FAULT {fault}")
    sys.exit(bool(faults))


def robot_requirements() -> list[Requirement]:
    """Return the requirements of the base package and of the robot's extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in extras[extra])]
    return [Requirement(line) for line in lines]


def check(computer: Computer, wanted: list[Requirement]) -> list[str]:
    """Return what is wrong with installing `wanted` there; print what would be installed."""
    environment = environment_of(computer)
    pins = pins_for(environment)
    lines = [str(r) for r in wanted if r.marker is None or r.marker.evaluate(environment)]
    found, fault = resolve(computer, lines, pins)
    print(f"{computer.name}, Python {computer.python}, aarch64, glibc 2.{computer.glibc}")
    if fault:
        return [f"{computer.name}: {fault}"]
    faults: list[str] = []
    versions = {name_of(item): str(item["metadata"]["version"]) for item in found}
    for item in sorted(found, key=name_of):
        name, url = name_of(item), str(item["download_info"]["url"])
        platform = url.removesuffix(".whl").rpartition("-")[2].partition(".")[0]
        print(f"  {name:<24}{versions[name]:<12}{platform}")
        if name not in pins:
            faults.append(f"{computer.name}: {name} {versions[name]} is not in constraints.txt")
        for line in item["metadata"].get("requires_dist", ()):
            needed = Requirement(line)
            is_due = needed.marker is None or needed.marker.evaluate(environment)
            if is_due and canonical(needed.name) not in versions:  # pip judges markers by itself
                faults.append(f"{computer.name}: {name} also needs {needed}")
    return faults


def environment_of(computer: Computer) -> dict[str, str]:
    """Return what environment markers are judged by on that computer; no extra is asked for."""
    here = {name: str(value) for name, value in default_environment().items()}
    return here | {
        "python_version": computer.python,
        "python_full_version": f"{computer.python}.0",
        "platform_machine": "aarch64",
        "extra": "",
    }


def pins_for(environment: dict[str, str]) -> dict[str, str]:
    """Return the lines of constraints.txt that hold there, by name and without their markers."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {
        canonical(pin.name): f"{pin.name}{pin.specifier}"
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(environment)
    }


def resolve(
    computer: Computer, wanted: list[str], pins: dict[str, str]
) -> tuple[list[dict[str, Any]], str]:
    """Return what pip would install there, and why it cannot (empty if it can)."""
    tag = f"cp{computer.python.replace('.', '')}"
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(computer.glibc, 16, -1)]
    flags = [f"--platform={platform}" for platform in [*platforms, "manylinux2014_aarch64"]]
    flags += [f"--abi={abi}" for abi in (tag, "abi3", "none")]
    with tempfile.TemporaryDirectory() as folder:
        constraints, report = Path(folder, "pins.txt"), Path(folder, "report.json")
        constraints.write_text("\n".join(pins.values()))
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--dry-run", "--ignore-installed", "--only-binary=:all:", "--implementation=cp"),
            *(f"--target={folder}/site", f"--python-version={computer.python}", *flags),
            *(f"--constraint={constraints}", f"--report={report}", *wanted),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return [], " ".join(done.stderr.split())
        return json.loads(report.read_text())["install"], ""


def name_of(item: dict[str, Any]) -> str:
    """Return the name of a package in pip's report."""
    return canonical(str(item["metadata"]["name"]))


def canonical(name: str) -> str:
    """Return a package's name as it is compared."""
    return name.lower().replace("_", "-").replace(".", "-")


if __name__ == "__main__":
    main()
