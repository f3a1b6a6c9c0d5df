"""Errors by horizon: each start is a dream of its own, and the table holds their quantiles."""

import csv
from pathlib import Path

import numpy as np
import pytest
from test_dream import make_footage

from robodreamer.learning.agent import Agent
from robodreamer.visualization.dream import dream, reconstruct
from robodreamer.visualization.horizon_errors import (
    HorizonErrors,
    describe_horizons,
    episode_errors,
    join_errors,
    write_errors,
)
from robodreamer_deploy.contract import Array
from toy_agent import make_agent

STEPS, CONTEXT = 12, 3
HORIZON = 5  # half of the ten states from the third on


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make_agent().eval()


@pytest.fixture(scope="module")
def errors(agent: Agent) -> HorizonErrors:
    found = episode_errors(agent, make_footage(agent.contract, STEPS), CONTEXT, 95)
    assert found is not None
    return found


def test_every_start_is_the_dream_that_begins_there(agent: Agent, errors: HorizonErrors) -> None:
    footage = make_footage(agent.contract, STEPS)
    watched = reconstruct(agent, footage).errors
    assert (errors.num_starts, errors.horizon) == (5, HORIZON)
    for row in range(errors.num_starts):
        begin = CONTEXT - 1 + row
        expected = dream(agent, footage, context=begin + 1, horizon=HORIZON)
        steps = slice(begin, begin + HORIZON + 1)
        for name in errors.dream:
            tables = errors.dream, errors.still, errors.reconstruction
            others = expected.errors, expected.still_errors, watched
            for table, other in zip(tables, others, strict=True):
                np.testing.assert_allclose(table[name][row], other[name][steps], atol=1e-4)


def test_few_starts_are_spread_over_all_that_reach_the_horizon(agent: Agent) -> None:
    footage = make_footage(agent.contract, STEPS)
    all_starts = episode_errors(agent, footage, CONTEXT, 2)
    some = episode_errors(agent, footage, CONTEXT, 2, starts=2)
    assert all_starts is not None
    assert some is not None
    assert all_starts.num_starts == STEPS - 2 - (CONTEXT - 1)
    np.testing.assert_allclose(
        some.dream["goal/position"], all_starts.dream["goal/position"][[0, -1]], atol=1e-5
    )


@pytest.mark.parametrize(("steps", "horizon"), [(3, None), (4, 1), (5, 1), (6, 2)])
def test_a_short_episode_has_a_short_horizon_or_none(
    steps: int, horizon: int | None, agent: Agent
) -> None:
    found = episode_errors(agent, make_footage(agent.contract, steps), CONTEXT, 95)
    assert (found.horizon if found else None) == horizon


def made(num_starts: int, horizon: int) -> HorizonErrors:
    table: dict[str, Array] = {"goal/position": np.full((num_starts, horizon + 1), float(horizon))}
    return HorizonErrors(table, table, table)


def test_episodes_are_joined_up_to_the_median_of_their_horizons() -> None:
    joined = join_errors([made(2, 9), made(3, 4), made(4, 1)])
    assert (joined.num_starts, joined.horizon) == (5, 4)
    assert sorted(joined.dream["goal/position"][:, 0]) == [4, 4, 4, 9, 9]


def test_the_table_has_every_signal_and_horizon_in_its_unit(
    agent: Agent, errors: HorizonErrors, tmp_path: Path
) -> None:
    write_errors(tmp_path / "errors.csv", errors, agent.contract)
    with (tmp_path / "errors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(agent.contract.observations) * (HORIZON + 1)
    (row,) = (r for r in rows if r["signal"] == "goal/position" and r["horizon_steps"] == "2")
    assert (row["unit"], row["horizon_s"], row["starts"]) == ("m", "0.2", "5")
    values = errors.dream["goal/position"][:, 2]
    for name, share in {"p10": 0.1, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9}.items():
        assert float(row[name]) == pytest.approx(np.quantile(values, share), rel=1e-4)
    still = np.median(errors.still["goal/position"][:, 2])
    floor = np.median(errors.reconstruction["goal/position"][:, 2])
    assert float(row["standing_still_p50"]) == pytest.approx(still, rel=1e-4)
    assert float(row["reconstruction_p50"]) == pytest.approx(floor, rel=1e-4)
    units = {row["signal"]: row["unit"] for row in rows}
    assert units["image/front"] == "of range"
    assert units["proprio/gripper"] == "wrong"


def test_the_summary_fits_80_columns(agent: Agent, errors: HorizonErrors) -> None:
    lines = list(describe_horizons(errors, agent.contract))
    assert len(lines) == 2 + len(agent.contract.observations)
    assert max(map(len, lines[:-1])) <= 80
    assert lines[1].split()[2:8] == ["0.1", "s", "0.3", "s", "0.5", "s"]
    (line,) = (line for line in lines if line.startswith("goal/position"))
    median = np.median(errors.dream["goal/position"][:, 1])
    assert float(line.split()[1]) == pytest.approx(median, rel=1e-2)
