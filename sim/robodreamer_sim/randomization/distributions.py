"""Distributions as data, which randomised quantities are drawn from. Needs numpy only.

{"kind": "uniform", "low": 0.8, "high": 1.2}      as JSON
Uniform(low=0.8, high=1.2)                        as code
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.utils.strict_json import read_object, read_record
from robodreamer_deploy.utils.suggest import closest

NORMAL_CUT = 3.0
"""Standard deviations at which a normal distribution ends, so that everything drawn is bounded."""


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Distribution with bounded values."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value that can be drawn."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw independent values of `shape`."""
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = dataclasses.asdict(self)
        kind = next(name for name, cls in KINDS.items() if type(self) is cls)
        return {"kind": kind} | {
            k: list(v) if isinstance(v, tuple) else v for k, v in values.items()
        }


@dataclass(frozen=True, kw_only=True)
class Uniform(Distribution):
    """Uniform distribution from `low` to `high`."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse an empty or infinite range."""
        _require_range(self.low, self.high)

    @property
    def bounds(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw independent values of `shape`."""
        return rng.uniform(self.low, self.high, shape)


@dataclass(frozen=True, kw_only=True)
class LogUniform(Distribution):
    """Log-uniform distribution: a factor of 1/2 is as likely as one of 2."""

    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse a range that is empty, infinite or not above 0."""
        _require_range(self.low, self.high)
        if self.low <= 0.0:
            raise ValueError(f"a log_uniform range lies above 0, got low {self.low}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw independent values of `shape`."""
        values = np.exp(rng.uniform(math.log(self.low), math.log(self.high), shape))
        return np.clip(values, self.low, self.high)  # exp(log(x)) may miss x by rounding


@dataclass(frozen=True, kw_only=True)
class Normal(Distribution):
    """Normal distribution, clipped at three standard deviations."""

    mean: float
    std: float

    def __post_init__(self) -> None:
        """Refuse a negative or infinite deviation."""
        if not (math.isfinite(self.mean) and 0.0 <= self.std < math.inf):
            raise ValueError(f"a normal has finite mean and std >= 0, got {self.mean}, {self.std}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Three standard deviations on both sides."""
        return self.mean - NORMAL_CUT * self.std, self.mean + NORMAL_CUT * self.std

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw independent values of `shape`."""
        return np.clip(rng.normal(self.mean, self.std, shape), *self.bounds)


@dataclass(frozen=True, kw_only=True)
class Choice(Distribution):
    """Choice among a few equally likely values."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse an empty list and infinite values."""
        if not self.values or not np.isfinite(self.values).all():
            raise ValueError(f"a choice is among finite values, got {self.values}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return min(self.values), max(self.values)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Draw independent values of `shape`."""
        return rng.choice(np.asarray(self.values, np.float64), shape)


KINDS: dict[str, type[Distribution]] = {
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "normal": Normal,
    "choice": Choice,
}


def read_distribution(data: object, where: str) -> Distribution:
    """Rebuild a distribution from `to_dict`'s values; `where` names it in errors.

    Raises:
        ValueError: An unknown kind, or parameters that it does not have.
    """
    values: Mapping[str, Any] = read_object(data, where)
    kind = values.get("kind")
    if kind not in KINDS:
        raise ValueError(f"{where}.kind is {kind!r}; there are {closest(str(kind), KINDS)}")
    return read_record(KINDS[kind], {k: v for k, v in values.items() if k != "kind"}, where)


def _require_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(f"a range is finite and low <= high, got low {low}, high {high}")
