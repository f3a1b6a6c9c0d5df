"""Error of the model's predictions by their horizon, over many starts.

At every start the model has watched the episode so far. It then imagines what the actions that were
really taken lead to. Two other models stand for comparison: one that goes on watching, whose error
is that of the decoder and the latents, and one to which everything stays as it is at the start.

Shapes: N starts, H imagined steps.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from robodreamer.learning.agent import Agent
from robodreamer.models.rssm import State
from robodreamer.models.sampling import ModeSampler
from robodreamer.visualization.dream import decode, step_errors, truth, watch
from robodreamer.visualization.episodes import Footage
from robodreamer_deploy.contract import Array, Contract, Signal
from robodreamer_deploy.utils.atomic_write import write_atomic

STARTS = 64
"""Most starts in one episode, evenly spaced."""
NAME_COLUMN = 24
"""Width of the names in the table, in characters; with five figures and a unit it makes 80."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class HorizonErrors(NamedTuple):
    """Errors by signal, (N, H + 1), as `step_errors` measures them; horizon 0 is observed."""

    dream: dict[str, Array]
    """Errors of what is imagined from the actions alone."""
    reconstruction: dict[str, Array]
    """Errors at the same steps while everything is observed."""
    still: dict[str, Array]
    """Errors of a model to which the values at the start stay."""

    @property
    def num_starts(self) -> int:
        """N."""
        return len(next(iter(self.dream.values())))

    @property
    def horizon(self) -> int:
        """H."""
        return next(iter(self.dream.values())).shape[1] - 1

    def quantiles(self, name: str) -> Array:
        """Return the `QUANTILES` over starts of the dream's error of a signal, (5, H + 1)."""
        return np.quantile(self.dream[name], QUANTILES, axis=0)


@torch.no_grad()
def episode_errors(
    agent: Agent, footage: Footage, context: int, horizon: int, starts: int = STARTS
) -> HorizonErrors | None:
    """Measure the errors from starts within one episode; None if it is too short for any.

    Starts lie in the first half of what follows `context` steps, so that all of them reach the
    same horizon, half of the episode at most.
    """
    horizon = min(horizon, (footage.num_steps - context + 1) // 2)
    if horizon < 1:
        return None
    last = footage.num_steps - 1 - horizon
    chosen = np.unique(np.linspace(context - 1, last, starts).round().astype(int))
    watched = watch(agent, footage, footage.num_steps)
    happened = truth(agent, footage, slice(None))
    floor = _reconstruction_errors(agent, watched, happened)
    dreamt, still = [], []
    state = State(*(value[chosen] for value in watched))
    for ahead in range(horizon + 1):
        if ahead:
            action = torch.from_numpy(footage.actions[chosen + ahead - 1]).to(state.deter.device)
            state = agent.world_model.rssm.imagine_step(state, action, ModeSampler())
        decoded = decode(agent, state)
        dreamt.append({k: step_errors(v[chosen + ahead], decoded[k]) for k, v in happened.items()})
        still.append({k: step_errors(v[chosen + ahead], v[chosen]) for k, v in happened.items()})
    steps = chosen[:, None] + np.arange(horizon + 1)
    return HorizonErrors(
        dream={name: np.stack([errors[name] for errors in dreamt], 1) for name in happened},
        reconstruction={name: errors[steps] for name, errors in floor.items()},
        still={name: np.stack([errors[name] for errors in still], 1) for name in happened},
    )


def join_errors(parts: Sequence[HorizonErrors]) -> HorizonErrors:
    """Put the starts of several episodes together, up to the median of their horizons.

    Starts of episodes that end earlier are left out, so that every horizon has the same starts.
    """
    horizons = sorted(part.horizon for part in parts)
    horizon = horizons[(len(horizons) - 1) // 2]
    long = [part for part in parts if part.horizon >= horizon]

    def join(tables: Sequence[Mapping[str, Array]]) -> dict[str, Array]:
        return {k: np.concatenate([t[k][:, : horizon + 1] for t in tables]) for k in tables[0]}

    return HorizonErrors(
        join([part.dream for part in long]),
        join([part.reconstruction for part in long]),
        join([part.still for part in long]),
    )


def write_errors(path: Path, errors: HorizonErrors, contract: Contract) -> None:
    """Write a CSV with a line per signal and horizon, in the signal's unit."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    quantiles = [f"p{100 * q:.0f}" for q in QUANTILES]
    writer.writerow(
        ["signal", "unit", "horizon_steps", "horizon_s", "starts", *quantiles,
         "reconstruction_p50", "standing_still_p50"]
    )  # fmt: skip
    for name in errors.dream:
        others = (errors.reconstruction[name], errors.still[name])
        floor, still = (np.median(values, axis=0) for values in others)
        for ahead, bands in enumerate(errors.quantiles(name).T):
            figures = [f"{value:.6g}" for value in [*bands, floor[ahead], still[ahead]]]
            seconds = f"{ahead * contract.control_dt_s:.6g}"
            writer.writerow(
                [name, error_unit(contract[name]), ahead, seconds, errors.num_starts, *figures]
            )
    write_atomic(path, text.getvalue().encode())


def describe_horizons(errors: HorizonErrors, contract: Contract) -> Iterator[str]:
    """Yield a table for 80 columns: median errors of each signal at three horizons."""
    shown = sorted({min(1, errors.horizon), -(-errors.horizon // 2), errors.horizon})
    yield f"prediction error over {errors.num_starts} starts, median:"
    heads = "".join(f"{f'{ahead * contract.control_dt_s:.3g} s':>9}" for ahead in shown)
    yield f"{'imagined ahead':<{NAME_COLUMN}}{heads}{'watched':>9}{'still':>9}"
    for name, values in errors.dream.items():
        medians = np.median(values[:, shown], axis=0).tolist()
        others = (errors.reconstruction[name], errors.still[name])
        medians += [float(np.median(table[:, -1])) for table in others]
        figures = "".join(f"{value:>9.3g}" for value in medians)
        yield f"{name:<{NAME_COLUMN}}{figures} {error_unit(contract[name])}".rstrip()


def error_unit(signal: Signal) -> str:
    """Return the unit that `step_errors` has for a signal."""
    if signal.is_image:
        return "of range"
    return "wrong" if signal.num_classes else signal.unit


def _reconstruction_errors(
    agent: Agent, states: State, happened: Mapping[str, Array]
) -> dict[str, Array]:
    """Return errors (T,), decoding a few states at a time: pictures take much memory."""
    parts: list[dict[str, Array]] = []
    for begin in range(0, len(states.deter), STARTS):
        steps = slice(begin, begin + STARTS)
        decoded = decode(agent, State(*(value[steps] for value in states)))
        parts.append({k: step_errors(v[steps], decoded[k]) for k, v in happened.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in happened}
