"""Views of a model: what `robodreamer dream` can be asked to show, computed and written.

All views start from episodes in which the agent acts; all but `errors` show the first of them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from robodreamer.config import choose
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import ModeSampler, RandomSampler, Sampler
from robodreamer.visualization.dream import CONTEXT, HORIZON, Dream, dream, reconstruct
from robodreamer.visualization.dream_films import (
    dream_stills,
    save_dream,
    save_errors,
    save_futures,
    save_interpolation,
    save_reconstruction,
)
from robodreamer.visualization.episodes import Footage
from robodreamer.visualization.futures import Futures, imagine_futures
from robodreamer.visualization.horizon_errors import (
    HorizonErrors,
    describe_horizons,
    episode_errors,
    error_unit,
    join_errors,
)
from robodreamer.visualization.interpolation import Interpolation, interpolate
from robodreamer_deploy.contract import Contract

FUTURES, MOST_FUTURES = 8, 64
"""Number of futures by default, and at most."""
View = Literal["open-loop", "reconstruction", "fantasy", "futures", "interpolation", "errors"]
VIEWS: Sequence[View] = get_args(View)
OPEN_LOOP: tuple[View, ...] = ("open-loop",)


@dataclass(frozen=True, kw_only=True)
class DreamOptions:
    """Settings of the films of a run."""

    views: Sequence[str] = OPEN_LOOP
    """Things to show, of `VIEWS`."""
    episodes: int = 1
    """Evaluation episodes that are filmed; errors are measured in all of them."""
    context: int = CONTEXT
    """Steps that the model watches before it imagines."""
    horizon: int = HORIZON
    """Steps that it imagines at most."""
    futures: int = FUTURES
    """Number of futures."""
    is_sampling: bool = False
    """True if actions of episodes and of the fantasy are drawn, instead of the likeliest ones."""
    strip: Path | None = None
    """WebP file of all episodes side by side, each above the model's dream of it."""

    def __post_init__(self) -> None:
        """Refuse counts and views that mean nothing."""
        for name in ("episodes", "context", "horizon", "futures"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"--{name} is at least 1, got {value}")
        if self.futures > MOST_FUTURES:
            raise ValueError(f"--futures is at most {MOST_FUTURES}, got {self.futures}")
        if not self.views:
            raise ValueError(f"--what names nothing to show; there is {', '.join(VIEWS)}")
        for view in self.views:
            choose("view", view, dict.fromkeys(VIEWS))


class Films(NamedTuple):
    """Films of a run, and the arrays that they show; None for what was not asked for."""

    files: list[Path]
    """Videos, pictures and tables, in the order they were written."""
    dream: Dream | None
    """Open loop: what happened and what the model imagined; None of an episode of one step."""
    reconstruction: Dream | None = None
    """The same with every step observed."""
    fantasy: Futures | None = None
    """One course under the actor, from the prior alone."""
    futures: Futures | None = None
    """Several such courses, drawn at random."""
    interpolation: Interpolation | None = None
    """Signals decoded between two real states."""
    errors: HorizonErrors | None = None
    """Errors of predictions by horizon; None also if all episodes are too short for any."""


class Views:
    """Views of the episodes that are added one by one, so that none need stay in memory."""

    def __init__(self, agent: Agent, options: DreamOptions) -> None:
        self.agent, self.options = agent, options
        self.dreams: list[Dream] = []
        """Dream of the first episode, or of every one for a strip."""
        self._errors: list[HorizonErrors] = []
        self._count = 0

    def add(self, footage: Footage) -> None:
        """Take in what needs every episode: dreams for a strip, and errors."""
        options = self.options
        is_shown = self._count == 0 and "open-loop" in options.views
        if footage.num_steps > 1 and (is_shown or options.strip):
            self.dreams.append(dream(self.agent, footage, options.context, options.horizon))
        if "errors" in options.views:
            measured = episode_errors(self.agent, footage, options.context, options.horizon)
            self._errors += [measured] if measured else []
        self._count += 1

    def films(self, first: Footage, seed: int) -> Films:
        """Return what was asked for, of the first episode; `files` is still empty."""
        agent, options = self.agent, self.options
        context, horizon = options.context, self._horizon
        found: dict[str, Dream | Futures | Interpolation] = {}
        if "reconstruction" in options.views:
            found["reconstruction"] = reconstruct(agent, first, context + options.horizon)
        if "fantasy" in options.views:
            sampler = make_sampler(seed, is_sampling=options.is_sampling)
            found["fantasy"] = imagine_futures(agent, first, context, horizon, 1, sampler)
        if "futures" in options.views:
            sampler, count = make_sampler(seed, is_sampling=True), options.futures
            found["futures"] = imagine_futures(agent, first, context, horizon, count, sampler)
        if "interpolation" in options.views:
            found["interpolation"] = interpolate(agent, first, context)
        is_shown = "open-loop" in options.views and bool(self.dreams)
        errors = join_errors(self._errors) if self._errors else None
        return Films([], self.dreams[0] if is_shown else None, errors=errors)._replace(**found)

    @property
    def _horizon(self) -> int:
        """Steps that the actor goes on by itself: none beyond the end that the task sets."""
        most = self.agent.contract.max_episode_steps
        if most is None:
            return self.options.horizon
        return max(1, min(self.options.horizon, most + 1 - self.options.context))


def save_views(stem: str, films: Films, contract: Contract) -> list[Path]:
    """Write the files of all views that there are; their names begin with `stem`."""
    written: list[Path] = []
    if films.dream:
        written += save_dream(stem, films.dream, contract, dream_stills(films.dream, contract))
    if films.reconstruction:
        written += save_reconstruction(stem, films.reconstruction, contract)
    if films.fantasy:
        written += save_futures(stem, "fantasy", films.fantasy, contract)
    if films.futures:
        written += save_futures(stem, "futures", films.futures, contract)
    if films.interpolation:
        written += save_interpolation(stem, films.interpolation, contract)
    if films.errors:
        written += save_errors(stem, films.errors, contract)
    return written


def describe_films(films: Films, contract: Contract) -> Iterator[str]:
    """Yield tables of errors, for terminals of 80 columns."""
    if films.dream:
        yield from describe_errors(films.dream, contract)
    if films.errors:
        yield from describe_horizons(films.errors, contract)


def describe_errors(imagined: Dream, contract: Contract) -> list[str]:
    """Return a table: mean error per signal while watching and imagining, in its own unit."""
    lines = [f"{'mean error':<32}{'watched':>9}{'imagined':>10}{'standing still':>16}"]
    still = imagined.still_errors
    for name, errors in imagined.errors.items():
        watched, later = errors[: imagined.context].mean(), errors[imagined.context :].mean()
        stood = still[name][imagined.context :].mean()
        unit = error_unit(contract[name])
        lines.append(f"{name:<32}{watched:>9.4f}{later:>10.4f}{stood:>16.4f}  {unit}".rstrip())
    return lines


def make_sampler(seed: int, *, is_sampling: bool) -> Sampler:
    """Return a sampler that draws at random, or one that takes what is likeliest."""
    return RandomSampler(torch.Generator().manual_seed(seed)) if is_sampling else ModeSampler()
