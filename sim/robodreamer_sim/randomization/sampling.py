"""Sampler of one entry: its elements, its schedule, and the values drawn last.

What is drawn depends on the seed and the entry only, so that a further entry shifts no other's.

n elements, s numbers per element.
"""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from robodreamer_sim.randomization.spec import Entry

Values = NDArray[np.float64]


class EntrySampler:
    """Sampler of the values of one entry."""

    def __init__(self, entry: Entry, names: Sequence[str]) -> None:
        self.entry = entry
        self.names = entry.choose(names)
        """The selected elements (n,)."""
        self.values: Values = np.zeros((len(self.names), entry.about.size))
        """Values drawn last, (n, s)."""
        self._rng = np.random.default_rng()
        self._stream: np.random.Generator | None = None
        self._episode_seed = 0
        self._wait_s = np.inf

    @property
    def stream(self) -> np.random.Generator:
        """Generator of this episode, for values that are drawn at every step, such as noise."""
        if self._stream is None:
            self._stream = _generator(self._episode_seed, self.entry, 1)
        return self._stream

    def begin(self, start_seed: int, episode_seed: int) -> None:
        """Draw for a new episode; entries `at start` from the environment's seed."""
        seed = start_seed if self.entry.when == "start" else episode_seed
        self._rng = _generator(seed, self.entry, 0)
        self._episode_seed, self._stream = episode_seed, None
        self._draw()

    def advance(self, dt_s: float) -> bool:
        """Let time pass; return whether values were redrawn."""
        self._wait_s -= dt_s
        is_due = self._wait_s <= 1e-9
        if is_due:
            self._draw()
        return is_due

    def _draw(self) -> None:
        entry, (count, size) = self.entry, self.values.shape
        drawn = entry.distribution.draw(self._rng, (1 if entry.is_shared else count, size))
        self.values[:] = np.rint(drawn) if entry.about.is_whole else drawn
        if entry.interval_s is not None:
            self._wait_s = entry.interval_s * self._rng.uniform(0.5, 1.5)


def _generator(seed: int, entry: Entry, purpose: int) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(entry.name.encode()), purpose))
