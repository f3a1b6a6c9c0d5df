"""Specification of domain randomisation: fields, elements, distributions and times, as data.

    Randomization(entries=(
        Entry(field="friction", operation="scale", distribution=Uniform(low=0.5, high=1.2)),
        Entry(field="mass", operation="scale", distribution=Uniform(low=0.9, high=1.1)),
        Entry(field="push", operation="add", distribution=Uniform(low=-0.5, high=0.5),
              when="interval", interval_s=5.0),
    ))

Everything is plain data with a JSON form, which a task's contract records. Needs no simulator.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from robodreamer_deploy.utils.strict_json import read_object, read_record
from robodreamer_deploy.utils.suggest import closest
from robodreamer_sim.randomization.distributions import Distribution, read_distribution
from robodreamer_sim.randomization.parameters import FIELDS, Field, Operation, When

EVERY = ("*",)
MAX_DELAY = 100
"""Longest delay in steps; every one of them is kept in memory."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Entry: one field that is randomised."""

    field: str
    """A name of `FIELDS`."""
    operation: Operation
    """Operation on the nominal value."""
    distribution: Distribution
    when: When = "reset"
    """`start`: once per environment; `reset`: at every reset; `interval`: also during episodes."""
    select: tuple[str, ...] = EVERY
    """Names of the elements, with `*` and `?` as in file names. A name has to exist; `*` alone
    takes what there is, also nothing. One without a name is called by its kind, as `geom_3`."""
    is_shared: bool = False
    """True if all elements share one draw."""
    interval_s: float | None = None
    """Mean time between draws, which come after half to one and a half times this; 0 draws at
    every control step. Only, and always, for `interval`."""

    def __post_init__(self) -> None:
        """Check all values."""
        if self.field not in FIELDS:
            raise ValueError(f"no field {self.field!r}; there are {closest(self.field, FIELDS)}")
        self._require("operation", self.operation, self.about.operations)
        self._require("when", self.when, self.about.when)
        if not self.select:
            raise ValueError(f"{self.field}: select is empty; * selects all")
        has_interval = self.interval_s is not None
        if (
            has_interval != (self.when == "interval")
            or not 0.0 <= (self.interval_s or 0.0) < math.inf
        ):
            raise ValueError(
                f"{self.field}: when=interval goes with a finite interval_s >= 0, got "
                f"when={self.when} and interval_s={self.interval_s}"
            )
        self._check_bounds()

    @property
    def about(self) -> Field:
        """Description of the field."""
        return FIELDS[self.field]

    @property
    def name(self) -> str:
        """Unique name of field, time and selection; it seeds the draws."""
        return f"{self.field} at {self.when} of {' '.join(self.select)}"

    def choose(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of the elements' names that are selected, in their order.

        Raises:
            ValueError: A selection that matches nothing; lists what exists, closest first.
        """
        for pattern in self.select:
            if self.select != EVERY and not any(fnmatchcase(name, pattern) for name in names):
                exist = f"there are {closest(pattern, names)}" if names else "there is none"
                raise ValueError(
                    f"{self.field}: no {self.about.kind} {pattern!r} can be randomised; {exist}"
                )
        return tuple(name for name in names if self.matches(name))

    def matches(self, name: str) -> bool:
        """Return whether an element of this name is selected."""
        return any(fnmatchcase(name, pattern) for pattern in self.select)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "field": self.field,
            "operation": self.operation,
            "distribution": self.distribution.to_dict(),
            "when": self.when,
            "select": list(self.select),
            "is_shared": self.is_shared,
            "interval_s": self.interval_s,
        }

    def _require(self, what: str, value: str, choices: Sequence[str]) -> None:
        if value not in choices:
            raise ValueError(f"{self.field}: {what} is {value!r}; it can be {', '.join(choices)}")

    def _check_bounds(self) -> None:
        """Refuse factors that are not above 0, and values that the field cannot have."""
        low, high = self.distribution.bounds
        if self.operation == "scale" and low <= 0.0:
            raise ValueError(
                f"{self.field}: factors lie above 0, the distribution begins at {low:g}"
            )
        if self.operation != "set":
            return
        highest = MAX_DELAY if self.about.is_whole else self.about.high
        if low < self.about.low or high > highest:
            raise ValueError(
                f"{self.field} lies between {self.about.low:g} and {highest:g}, the distribution "
                f"goes from {low:g} to {high:g}"
            )


@dataclass(frozen=True, kw_only=True)
class Randomization:
    """Randomisation of a task; entries of the same field act in their order."""

    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        """Check that no two entries share their draws."""
        names = [entry.name for entry in self.entries]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two entries are called {name!r}; select different elements")

    def __bool__(self) -> bool:
        """Return whether anything is randomised."""
        return bool(self.entries)

    def with_entries(
        self, entries: Sequence[Entry], without: Sequence[str] = ()
    ) -> "Randomization":
        """Return this with all entries of the same fields replaced by `entries`.

        Args:
            entries: What takes their place.
            without: Fields that are no longer randomised at all.

        Raises:
            ValueError: A field in `without` that is not randomised; names those that are.
        """
        ours = [entry.field for entry in self.entries]
        for field in without:
            if field not in ours:
                raise ValueError(f"{field!r} is not randomised; {closest(field, ours)} are")
        replaced = {entry.field for entry in entries} | set(without)
        kept = (entry for entry in self.entries if entry.field not in replaced)
        return Randomization(entries=(*kept, *entries))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"entries": [entry.to_dict() for entry in self.entries]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "randomize") -> "Randomization":
        """Rebuild it from `to_dict`'s values.

        Raises:
            ValueError: An unknown field, distribution, operation or key; names what there is.
        """
        entries = read_entries(read_object(data, where).get("entries", ()), where)
        return read_record(cls, {**data, "entries": entries}, where)


def read_entries(data: object, where: str) -> tuple[Entry, ...]:
    """Rebuild entries from a list of their JSON values.

    Raises:
        ValueError: As for `Randomization.from_dict`.
    """
    if not isinstance(data, (list, tuple)):
        raise ValueError(f"{where}.entries is {data!r}, expected a list")  # noqa: TRY004
    return tuple(_read_entry(item, f"{where}.entries[{i}]") for i, item in enumerate(data))


def _read_entry(data: object, where: str) -> Entry:
    values = dict(read_object(data, where))
    if "distribution" in values:
        values["distribution"] = read_distribution(values["distribution"], f"{where}.distribution")
    return read_record(Entry, values, where)
