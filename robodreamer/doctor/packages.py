"""Checks of Python and of the packages, against what robodreamer's own metadata asks for."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from robodreamer.doctor.finding import Finding

if TYPE_CHECKING:
    from packaging.requirements import Requirement

EXTRAS = ("sim", "train")
"""Those that training needs; the others are matters of taste."""


def check_packages() -> Iterator[Finding]:
    """Compare every package with the range that is supported, and name what is not installed."""
    if find_spec("packaging") is None:
        advice = "pip install --force-reinstall onnxruntime"
        yield Finding("packaging", "failure", "not installed; onnxruntime brings it", advice)
        return
    try:
        python, lines = metadata("robodreamer")["Requires-Python"], requires("robodreamer") or []
    except PackageNotFoundError:
        found = "robodreamer is not installed, so what it asks for is not known"
        yield Finding("packages", "warning", found, "pip install -e . in its checkout")
        return
    yield _compare("Python", platform.python_version(), python)
    missing = []
    for requirement in {wanted.name: wanted for wanted in _required(lines)}.values():
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            if not requirement.marker:
                yield Finding(requirement.name, "failure", "not installed", _install(requirement))
            else:
                missing.append(requirement.name)
        else:
            yield _compare(requirement.name, installed, str(requirement.specifier))
    if missing:
        found = f"not installed: {', '.join(missing)}"
        advice = "pip install 'robodreamer[train]' to train here; a robot needs none of it"
        yield Finding("training", "warning", found, advice)


def _required(lines: list[str]) -> "Iterator[Requirement]":
    """Yield what a robot and what training needs, without robodreamer's own extras."""
    from packaging.requirements import Requirement

    for requirement in map(Requirement, lines):
        marker = requirement.marker
        is_wanted = marker is None or any(marker.evaluate({"extra": extra}) for extra in EXTRAS)
        if is_wanted and requirement.name != "robodreamer":
            yield requirement


def _compare(name: str, installed: str, wanted: str) -> Finding:
    """Judge an installed version, such as `2.13.0+cpu`, by a range, such as `<4,>=3.17`."""
    from packaging.specifiers import SpecifierSet

    ordered = ", ".join(sorted(wanted.split(","), reverse=True))  # >= goes before <
    if SpecifierSet(wanted).contains(installed, prereleases=True):
        return Finding(name, "ok", f"{installed} ({ordered})")
    advice = "install another Python" if name == "Python" else f"pip install '{name}{wanted}'"
    return Finding(name, "failure", f"{installed}, but {ordered} is needed", advice)


def _install(requirement: "Requirement") -> str:
    return f"pip install '{requirement.name}{requirement.specifier}'"
