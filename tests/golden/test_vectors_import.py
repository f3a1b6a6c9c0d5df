"""Golden agents written as checkpoints of the public code become runs that act as there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from agents import observation, policy_outputs
from torch import Tensor
from vectors import Case, compare

import robodreamer
from reference_checkpoints import (
    CONTINUOUS,
    DISCRETE,
    FOLDER,
    STEPS,
    golden_parameters,
    write_checkpoint,
)
from robodreamer.cli.main import main
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import ModeSampler
from robodreamer.runs.run_folder import load_run

TASKS = {CONTINUOUS: ("gym:golden_env:GoldenContinuous-v0", 64),
         DISCRETE: ("gym:golden_env:GoldenDiscrete-v0", 32)}  # fmt: skip


def quiet(line: str) -> None:
    del line


@pytest.fixture(scope="module", params=TASKS)
def file(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def run(file: str, tmp_path_factory: pytest.TempPathFactory) -> robodreamer.Run:
    """Return the imported run of each golden agent."""
    task, side = TASKS[file]
    folder = tmp_path_factory.mktemp("reference")
    log = write_checkpoint(folder / "log", file, side=side)
    return robodreamer.import_reference(log, folder / "run", task=task, log=quiet)


def act(agent: Agent, case: Case) -> dict[str, Tensor]:
    """Return states and outputs of the policy along the golden observations, (T, N, ...)."""
    values = case.tensors("policy/in")
    num_steps, num_envs = values["is_first"].shape
    carry = agent.initial_carry(num_envs)
    records: list[dict[str, Tensor]] = []
    for step in range(num_steps):
        now = observation(agent, {name: value[step] for name, value in values.items()})
        carry = agent.act(carry, now, values["is_first"][step], ModeSampler())
        outputs = policy_outputs(agent, carry.state)
        records.append(carry.state._asdict() | {"policy_logits": outputs})
    return {name: torch.stack([record[name] for record in records]) for name in records[0]}


def test_an_imported_agent_acts_as_in_the_public_code(run: robodreamer.Run, file: str) -> None:
    agent = load_run(run.folder).agent
    case = Case(file, "agent")
    expected = case.section("policy/out")
    del expected["action"]  # a function of the outputs
    compare(expected, act(agent, case))
    low = golden_parameters(file)[0]["retnorm/lo"]
    assert float(agent.actor_critic.return_range.low) == pytest.approx(float(low))


def test_the_run_says_where_its_agent_came_from(run: robodreamer.Run) -> None:
    origin = run.record.provenance["imported"]
    assert origin["steps"] == STEPS
    assert FOLDER in origin["checkpoint"]
    assert (run.steps, run.config.preset, run.config.observe) == (0, "dreamer_v3", "both")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("file", [DISCRETE], indirect=True)
def test_an_imported_run_evaluates_dreams_is_inspected_exports_and_trains_on(
    run: robodreamer.Run, tmp_path: Path
) -> None:
    evaluation = robodreamer.evaluate(run, episodes=1, draw="mode", log=quiet)
    assert evaluation["mode"].returns.tolist() == [4.0]
    films = robodreamer.dream(run, context=2, log=quiet)
    assert films.dream is not None
    assert robodreamer.inspect(run, episodes=1, log=quiet).num_steps == 5
    policy = robodreamer.load(robodreamer.export_policy(run, tmp_path / "p", episodes=1, log=quiet))
    env = run.make_env()
    values, _ = env.reset(seed=0)
    assert np.isfinite(policy.step(values, is_first=True).action).all()
    env.close()
    assert main(["report", str(run.folder)]) == 0
    assert "imported from" in (run.folder / "report.html").read_text()
    first_batch = 65 * run.config.data.num_envs
    longer = robodreamer.resume(run, steps=first_batch + 16, num_workers=0)
    assert longer.steps >= first_batch + 16
    assert max(line.get("updates", 0) for line in longer.metrics) > 0
