"""Randomised tasks: nothing changes unless asked for, seeds repeat, contracts rebuild them."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.image
import mujoco
import numpy as np
import pytest

from robodreamer.cli.tasks import tasks
from robodreamer.cli.train import train
from robodreamer.config import named_config
from robodreamer.training.builder import env_options
from robodreamer.visualization.tasks import save_randomized
from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import FIELDS, Choice, Entry, Randomization, Uniform
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.catalog import list_tasks
from robodreamer_sim.testing.episode_starts import first_images
from robodreamer_sim.vector import vector_env
from robodreamer_sim.vector.backends import LocalShard
from robodreamer_sim.vector.seeding import start_seed
from robodreamer_sim.vector.vector_env import VectorEnv
from toy_model import differing, model_arrays

SMALL = (16, 16)
TASKS: dict[str, Any] = {
    "fetch_push": {"observe": "proprio"},
    "dmc_walker_walk": {"image_size": SMALL},
}


@pytest.fixture(scope="module")
def renderers() -> Iterator[RendererPool]:
    shared = RendererPool()
    yield shared
    shared.close()


def neutral() -> Randomization:
    """Return entries for every field that leave everything as it is."""
    entries = []
    for name, field in FIELDS.items():
        if name == "push":
            continue  # even one by nothing computes the accelerations once more
        operation = field.operations[0]
        value = 1.0 if operation == "scale" or name.endswith(("brightness", "contrast")) else 0.0
        timing: Any = {"when": "interval", "interval_s": 0.0} if name == "control_jitter" else {}
        entries.append(
            Entry(field=name, operation=operation, distribution=Choice(values=(value,)), **timing)
        )
    return Randomization(entries=tuple(entries))


def model_of(env: TaskEnv) -> mujoco.MjModel:
    assert env.mujoco_handles is not None
    return env.mujoco_handles[0]


def drive(env: TaskEnv, seed: int, steps: int = 5) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    seen = [env.reset(seed=seed)[0]]
    for _ in range(steps):
        action = rng.uniform(-1.0, 1.0, env.contract.action.size).astype(np.float32)
        observation, reward, *_ = env.step(action)
        seen.append(observation | {"reward": np.asarray(reward)})
    return seen


def same(first: list[dict[str, Array]], second: list[dict[str, Array]]) -> bool:
    return all(
        np.array_equal(a[name], b[name])
        for a, b in zip(first, second, strict=True)
        for name in a.keys() | b.keys()
    )


@pytest.mark.parametrize("task", TASKS)
def test_none_is_to_the_bit_what_no_randomisation_is(task: str, renderers: RendererPool) -> None:
    options = EnvOptions(**TASKS[task])
    plain, none, moot = (
        make(task, each, renderers)
        for each in (
            options,
            dataclasses.replace(options, randomize="none"),
            dataclasses.replace(options, randomize=neutral()),
        )
    )
    assert none.contract == plain.contract
    expected = drive(plain, seed=3)
    assert same(drive(none, seed=3), expected)
    assert same(drive(moot, seed=3), expected)
    arrays = [model_arrays(model_of(env)) for env in (plain, none, moot)]
    assert differing(arrays[0], arrays[1]) == {}
    assert {*differing(arrays[0], arrays[2])} <= {
        "actuator_history", "actuator_historyadr", "sensor_history", "sensor_historyadr",
        "nhistory",
    }  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_repeats_with_its_seed_and_is_rebuilt_from_the_contract(
    task: str, renderers: RendererPool
) -> None:
    env = make(task, EnvOptions(**TASKS[task], randomize="strong"), renderers)
    first = drive(env, seed=1)
    assert not same(first, drive(env, seed=2))
    assert same(first, drive(env, seed=1))
    options = json.loads(env.contract.to_json())["options"]
    assert len(options["randomize"]["entries"]) > 20
    rebuilt = make(task, EnvOptions.from_dict(options), renderers)
    assert rebuilt.contract == env.contract == Contract.from_json(env.contract.to_json())
    assert same(first, drive(rebuilt, seed=1))
    for record in first:
        env.contract.check({name: record[name] for name in record if name != "reward"})


def test_what_is_drawn_at_start_is_an_environments_own_whichever_shard_it_is_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mass = Entry(
        field="mass", operation="scale", distribution=Uniform(low=0.5, high=2.0), when="start"
    )
    options = EnvOptions(observe="proprio", randomize=Randomization(entries=(mass,)))

    def masses(num_workers: int, first_episodes: list[int]) -> list[list[float]]:
        with VectorEnv(
            "dmc_cartpole_swingup", options, num_envs=2, num_workers=num_workers, seed=7
        ) as environments:
            environments.start(first_episodes=first_episodes)
            environments.recv()
            shards: Any = environments._shards
            slots = [slot for shard in shards for slot in shard._shard._slots]
            return [model_of(slot.env).body_mass.tolist() for slot in slots]

    monkeypatch.setattr(vector_env, "WorkerShard", LocalShard)  # to see inside
    together, apart = masses(1, [0, 0]), masses(2, [3, 5])
    assert together == apart
    assert together[0] != together[1]
    assert len({start_seed(seed, index) for seed in range(5) for index in range(5)}) == 25


def test_without_a_seed_every_episode_is_another_one() -> None:
    env = make("dmc_cartpole_swingup", EnvOptions(observe="proprio", randomize="strong"))
    model = model_of(env)
    env.reset(seed=0)
    seen = {model.body_mass[1]}
    for _ in range(3):
        env.reset()
        seen.add(model.body_mass[1])
    assert len(seen) == 4


def test_what_mujoco_does_not_simulate_has_only_imperfect_signals() -> None:
    env = make("gym:toy_env:Toy-v0", EnvOptions(observe="proprio", randomize="strong"))
    plain = make("gym:toy_env:Toy-v0", EnvOptions(observe="proprio"))
    assert not same(drive(env, seed=0, steps=2), drive(plain, seed=0, steps=2))
    named = Entry(
        field="mass", operation="scale", distribution=Choice(values=(2.0,)), select=("torso",)
    )
    with pytest.raises(ValueError, match="mass: no body 'torso' can be randomised; there is none"):
        make("gym:toy_env:Toy-v0", EnvOptions(randomize=Randomization(entries=(named,))))


def test_a_sheet_shows_as_many_different_episodes() -> None:
    task, size = "dmc_walker_walk", (24, 32)
    strong = first_images(task, EnvOptions(randomize="strong", image_size=size), count=6)
    assert {name: pictures.shape for name, pictures in strong.items()} == {
        "image/side": (6, *size, 3)
    }
    plain = first_images(task, EnvOptions(image_size=size), count=6)["image/side"]
    brightness, usual = strong["image/side"].mean((1, 2, 3)), plain.mean((1, 2, 3))
    assert brightness.std() > 5 * usual.std()
    assert (strong["image/side"].std((1, 2, 3)) > 3).all()


def test_the_sheet_is_saved_where_episodes_are_asked_to_be_shown(tmp_path: Path) -> None:
    options = EnvOptions(randomize="mild", image_size=(16, 16))
    path = save_randomized("dmc_cartpole_swingup", options, tmp_path)
    assert path == tmp_path / "dmc_cartpole_swingup-randomised.png"
    height, width, _ = matplotlib.image.imread(path).shape
    assert height > 2 * 128
    assert width > 8 * 128
    with pytest.raises(ValueError, match=r"--randomize .* goes with --show"):
        tasks(["dmc_cartpole_swingup", "--randomize", "mild"])
    with pytest.raises(ValueError, match="no randomisation 'wild'"):
        tasks(["dmc_cartpole_swingup", "--show", "--randomize", "wild"])


def test_a_run_keeps_the_preset_or_what_a_file_says(tmp_path: Path) -> None:
    config = named_config("fetch_reach", "debug", "dreamer_v3", "debug")
    assert env_options(config).randomize == "none"
    file = tmp_path / "own.json"
    with pytest.raises(ValueError, match=r"randomize .*own.json: No such file"):
        train(["fetch_reach", "--randomize", str(file)])
    file.write_text('{"preset": "wild"}')
    with pytest.raises(ValueError, match="no randomisation 'wild'; there are mild, "):
        train(["fetch_reach", "--randomize", str(file), "--run", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("actuator_delay", "no actuator 'elbow' can be randomised; there are elbow_pitch, "),
        ("sensor_delay", "no sensor 'elbow' can be randomised; there is none"),
    ],
)
def test_a_delay_of_what_a_task_does_not_have_is_refused_when_it_is_made(
    field: str, words: str
) -> None:
    entry = Entry(
        field=field, operation="set", distribution=Choice(values=(2.0,)), select=("elbow",)
    )
    late = EnvOptions(observe="proprio", randomize=Randomization(entries=(entry,)))
    with pytest.raises(ValueError, match=words):
        make("arm_reach", late)


@pytest.mark.slow
@pytest.mark.parametrize("task", list_tasks())
def test_every_task_can_be_randomised(task: str) -> None:
    observe = "both" if "visual" in task else "proprio"
    env = make(task, EnvOptions(observe=observe, randomize="strong"))
    for record in drive(env, seed=0):
        env.contract.check({name: record[name] for name in record if name != "reward"})


@pytest.mark.slow
def test_a_model_that_is_compiled_for_every_episode_is_randomised_each_time() -> None:
    task, heavy = "manipulation_reach_site", Choice(values=(2.0,))
    late = Choice(values=(3.0,))
    entries = (
        Entry(field="mass", operation="scale", distribution=heavy),
        Entry(field="actuator_delay", operation="set", distribution=late),
    )
    options = EnvOptions(observe="proprio", randomize=Randomization(entries=entries))
    env, plain = make(task, options), make(task, EnvOptions(observe="proprio"))
    for _ in range(2):
        for each in (env, plain):
            each.reset(seed=0)
        np.testing.assert_allclose(model_of(env).body_mass, 2.0 * model_of(plain).body_mass)
        assert (model_of(env).actuator_delay > 0).all()
