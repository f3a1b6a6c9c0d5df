"""Environments as other people write them, as tasks: pictures, arguments, periods, failures."""

import re
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foreign_env
from robodreamer.cli.main import main
from robodreamer.config import folder_name
from robodreamer_deploy.contract import Contract
from robodreamer_sim import EnvOptions, TaskEnv, VectorEnv, make
from robodreamer_sim.errors import EnvironmentFault, NoPictureError

PROPRIO = EnvOptions(observe="proprio")


def shapes(env: TaskEnv) -> dict[str, tuple[int, ...]]:
    return {signal.name: signal.shape for signal in env.contract.observations}


@pytest.mark.parametrize(
    ("cameras", "shape"),
    [(None, (32, 40, 3)), (("camera:208x160",), (208, 160, 3)), (("camera@10",), (32, 40, 3))],
)
def test_an_observed_picture_has_the_size_that_is_asked_for(
    cameras: tuple[str, ...] | None, shape: tuple[int, ...]
) -> None:
    options = EnvOptions(image_size=(32, 40), cameras=cameras)
    env = make("foreign_env:Tall", options)
    assert shapes(env) == {"image/camera": shape}
    observation, _ = env.reset(seed=0)
    env.contract.check(observation)
    seen = observation["image/camera"]
    height = shape[0]
    assert (seen[: height // 2 - 1] == [200, 0, 0]).all()
    assert (seen[height // 2 + 1 :] == [0, 100, 0]).all()
    again = make("foreign_env:Tall", EnvOptions.from_dict(env.contract.options))
    assert again.contract == env.contract
    picture = env.render_camera(height=50, width=70)
    assert (picture.shape, picture.dtype) == ((50, 70, 3), np.uint8)
    assert (picture[:24] == [200, 0, 0]).all()


def test_an_observed_camera_that_is_slower_shows_its_last_picture_again() -> None:
    env = make("foreign_env:TwoCameras", EnvOptions(cameras=("front@10", "wrist:16x16")))
    assert env.contract.control_dt_s == 0.05
    seen = [env.reset(seed=0)[0]]
    seen += [env.step(np.zeros(2, np.float32))[0] for _ in range(2)]
    assert np.array_equal(seen[0]["image/front"], seen[1]["image/front"])
    assert not np.array_equal(seen[1]["image/front"], seen[2]["image/front"])
    assert not np.array_equal(seen[0]["image/wrist"], seen[1]["image/wrist"])


def test_each_observed_camera_can_be_chosen_and_sized() -> None:
    both = make("foreign_env:TwoCameras")
    assert shapes(both) == {
        "image/front": (64, 64, 3),
        "image/wrist": (64, 64, 4),
        "proprio/joints": (2,),
    }
    one = make("foreign_env:TwoCameras", EnvOptions(cameras=("wrist:16x24",)))
    assert shapes(one) == {"image/wrist": (16, 24, 4), "proprio/joints": (2,)}
    assert one.camera_names == ("front", "wrist")
    one.reset(seed=0)
    for name in one.camera_names:
        assert one.render_camera(name, 20, 30).shape == (20, 30, 3)
    for words, complaint in {
        "rist": "has no camera 'rist'; it has wrist, front",
        "wrist+depth": "measures no depth",
        "wrist@50": "is controlled at 20 Hz; camera wrist cannot be seen at 50 Hz",
    }.items():
        with pytest.raises(ValueError, match=complaint):
            make("foreign_env:TwoCameras", EnvOptions(cameras=(words,)))


def test_a_grey_picture_is_shown_to_people_in_grey() -> None:
    env = make("foreign_env:Grey", EnvOptions(image_size=(16, 16)))
    assert shapes(env) == {"image/camera": (16, 16, 1)}
    observation, _ = env.reset(seed=0)
    shown = env.render_camera(None, 16, 16)
    np.testing.assert_array_equal(shown, observation["image/camera"].repeat(3, -1))


def test_pictures_of_what_is_achieved_are_no_input_at_any_depth() -> None:
    env = make("foreign_env:Goals")
    inputs = {signal.name for signal in env.contract.inputs}
    assert inputs == {"proprio/observation", "image/desired_goal", "image/more_camera"}
    privileged = {signal.name for signal in env.contract.privileged}
    assert privileged == {"privileged/achieved_goal", "privileged/more_achieved_goal_eye"}
    env.contract.check(env.reset(seed=0)[0])


@pytest.mark.parametrize(
    ("name", "has_picture"),
    [
        ("Wrapped", True),
        ("WrappedHandsOn", True),
        ("WrappedWithoutPictures", False),
        ("WrappedRefuses?env_name=x", False),
        ("PromisesPictures?size=4", False),
        ("make_one", True),
        ("make_with_mode", True),
        ("make_by_keywords", True),
        ("make_by_keywords?render_mode=None", False),
    ],
)
def test_wrappers_and_functions_are_tasks_with_pictures_where_they_can_be_had(
    name: str, has_picture: bool
) -> None:
    name = name.partition("?")[0] if "Refuses" in name else name
    if not has_picture:
        with pytest.raises(NoPictureError, match="has no rgb_array rendering"):
            make(f"foreign_env:{name}")
    env = make(f"foreign_env:{name}", EnvOptions() if has_picture else PROPRIO)
    assert ("image/camera" in shapes(env)) == has_picture
    env.contract.check(env.reset(seed=0)[0])
    env.close()


@pytest.mark.parametrize(
    ("words", "env_name", "sizes"),
    [
        ("env_name=reach-v3", "reach-v3", None),
        ("env_name=reach-v3&sizes=[1, 2]", "reach-v3", [1, 2]),
        ("env_name=%223%22&sizes=true", "3", True),
        ("env_name=a%26b%3Dc&sizes=None", "a&b=c", None),
    ],
)
@pytest.mark.parametrize("start", ["gym:foreign_env:NeedsName-v0", "foreign_env:NeedsName"])
def test_arguments_are_part_of_the_name_and_of_the_contract(
    start: str, words: str, env_name: str, sizes: Any
) -> None:
    task = f"{start}?{words}"
    env: Any = make(task, PROPRIO)
    base = env._env.unwrapped
    assert (base.env_name, base.sizes) == (env_name, sizes)
    contract = Contract.from_json(env.contract.to_json())
    assert contract.task == task
    again = make(contract.task, EnvOptions.from_dict(contract.options))
    assert again.contract == contract


def test_a_run_folder_has_no_characters_that_shells_expand() -> None:
    assert folder_name("gym:Ant-v5") == "gym_Ant-v5"
    assert folder_name("gym:a:B/C-v0?sizes=[1, 2]&x=*") == "gym_a_B_C-v0_sizes__1__2__x__"
    long = "gym:A-v0?scene=" + "/usr/share/\u00e9" * 40
    assert len(f"{folder_name(long)}-randomised.png".encode()) < 255
    assert folder_name(long) != folder_name(f"{long}x")


@pytest.mark.parametrize(
    "task",
    [
        "gym:toy_env:ToyEndless-v0?max_episode_steps=7",
        "foreign_env:make_with_mode?max_episode_steps=7",
        "foreign_env:Base?max_episode_steps=7",
    ],
)
def test_an_argument_sets_when_episodes_are_cut(task: str) -> None:
    env = make(task, PROPRIO)
    assert env.contract.max_episode_steps == 7
    env.reset(seed=0)
    action = np.zeros(env.contract.action.size, np.float32)
    flags = [env.step(action)[3] for _ in range(7)]
    assert flags == [False] * 6 + [True]
    assert not any("1000" in note for note in env.notes)


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (
            "gym:foreign_env:NeedsName-v0",
            r"TypeError: .*'env_name'.*\(raised in \w+\); arguments are given as .*\?key=value'",
        ),
        ("gym:foreign_env:NeedsName-v0?name=x", r"TypeError: .*'name'"),
        ("gym:CartPole-v1?x", "arguments are key=value, joined by &.*'x' is not one"),
        ("gym:CartPole-v1?a=1&a=2", "the argument a is given twice"),
        ("foreign_env:make_key_error", r"KeyError: 'left_arm' \(raised in foreign_env\)"),
        ("foreign_env:make_exit", r"SystemExit: 3 \(raised in foreign_env\)"),
        ("foreign_env:make_numpy_error", r"ValueError: operands could not .*raised in foreign_env"),
        ("foreign_env:make_nothing", "returned types.SimpleNamespace, which is no gymnasium.Env"),
        ("foreign_env:OldReset", r"reset returned ndarray, not \(observation, info\).*shimmy"),
        ("foreign_env:OldStep", r"step returned 4 values, not \(observation, reward.*shimmy"),
        ("foreign_env:Rewards?kind=none", r"the reward is None; one number is needed"),
        ("foreign_env:Rewards?kind=several", r"the reward is array\(\[1., 2.\]\); one number"),
        ("foreign_env:Rewards?kind=word", r"the reward is 'good'; one number is needed"),
        ("gym:email/PushT-v0", "first imports the package that registers an id, here gym:email:"),
        ("gym:nobody/PushT-v0", "gym:MODULE:ID first imports the package that registers an id$"),
    ],
)
def test_what_cannot_be_made_is_told_in_one_sentence(task: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        make(task, PROPRIO)
    assert str(caught.value).startswith(task)
    assert "\n" not in str(caught.value)
    assert not re.search(r"\.;|ids are *(;|$)", str(caught.value))


def test_a_task_that_cannot_be_made_ends_every_command_with_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    task = "foreign_env:make_key_error"
    train = ["train", task, f"--run={tmp_path / 'run'}", "--size=debug", "--protocol=debug"]
    for words in (["tasks", task], ["tasks", "check", task], train):
        assert main(words) == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"robodreamer: {task}: KeyError: 'left_arm'")
    monkeypatch.setenv("ROBODREAMER_TRACEBACK", "1")
    with pytest.raises(ValueError, match="left_arm") as caught:
        main(train)
    told = "".join(traceback.format_exception(caught.value))
    assert "in make_key_error" in told, "the traceback of the worker is not told"


def test_training_tells_what_was_guessed_and_takes_what_is_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (
        "--observe=proprio", "--size=debug", "--protocol=debug", "--device=cpu", "--threads=1",
        "--evaluate-minutes=0", "--data.train-ratio=1", "--steps=60",
    )  # fmt: skip
    run = tmp_path / "run"
    assert main(["train", "foreign_env:Base", f"--run={run}", *words]) == 0
    said = capsys.readouterr().err
    assert "note: control every 0.05 s is a guess" in said
    assert "note: episodes are cut after 1000 simulator steps" in said
    task, run = "foreign_env:Base?max_episode_steps=7", tmp_path / "other"
    assert main(["train", task, f"--run={run}", "--control-dt=0.25", *words]) == 0
    assert "note:" not in capsys.readouterr().err
    contract = Contract.from_json((run / "contract.json").read_text())
    assert (contract.control_dt_s, contract.max_episode_steps) == (0.25, 7)
    assert (contract.task, contract.options["control_dt_s"]) == (task, 0.25)


def test_a_simulator_that_wants_to_end_the_process_is_a_fault_of_its_environment() -> None:
    settings: dict[str, Any] = {"num_envs": 1, "num_workers": 0, "seed": 0}
    with VectorEnv("foreign_env:Exits", PROPRIO, **settings) as environments:
        environments.start()
        environments.recv()
        with pytest.raises(EnvironmentFault, match="episode 0, step 6: SystemExit: 3"):  # noqa: PT012
            for _ in range(6):
                environments.send(np.zeros((1, 2), np.float32))
                environments.recv()


def test_a_nan_at_reset_is_told_with_its_signal_and_step() -> None:
    with VectorEnv("foreign_env:NanAtReset", PROPRIO, num_envs=1, seed=0) as environments:
        environments.start()
        with pytest.raises(EnvironmentFault, match=r"episode 0, step 0: proprio/obs.*nan"):
            environments.recv()


@pytest.mark.parametrize("value", ["NaN", "Infinity"])
def test_a_picture_of_floats_that_are_not_finite_is_a_fault_not_black(value: str) -> None:
    task = f"foreign_env:FloatPicture?value={value}"
    with VectorEnv(task, num_envs=1, num_workers=0, seed=0) as environments:
        environments.start()
        with pytest.raises(EnvironmentFault, match=r"step 0: .* 1 values such as (nan|inf)"):
            environments.recv()


@pytest.mark.parametrize(("kind", "value"), [("nan", "nan"), ("infinite", "inf")])
def test_a_reward_that_is_not_finite_stops_a_run(kind: str, value: str) -> None:
    task = f"foreign_env:Rewards?kind={kind}"
    with VectorEnv(task, PROPRIO, num_envs=1, num_workers=0, seed=0) as environments:
        environments.start()
        environments.recv()
        environments.send(np.zeros((1, 2), np.float32))
        with pytest.raises(EnvironmentFault, match=f"reward is {value}"):
            environments.recv()


@pytest.mark.parametrize("kind", ["int", "float32", "int64", "array", "scalar array", "bool"])
def test_a_reward_of_any_type_of_number_is_a_number(kind: str) -> None:
    env = make(f"foreign_env:Rewards?kind={kind}", PROPRIO)
    env.reset(seed=0)
    reward = env.step(np.zeros(2, np.float32))[1]
    assert type(reward) is float
    assert reward == float(np.ravel(foreign_env.Rewards.KINDS[kind])[0])


@pytest.mark.parametrize(
    ("words", "seconds", "note"),
    [
        ("dt=0.01&fps=10", 0.1, r"0.1 s is a guess: .*dt = 0.01 s and 10 frames per second"),
        ("dt=0.05&fps=30", 0.05, r"0.05 s is a guess: .*dt = 0.05 s and 30 frames per second"),
        ("dt=0.015&fps=67", 0.015, None),
        ("dt=0.02&kind=float32", 0.02, None),
        ("dt=1&kind=int", 1.0, None),
        ("dt=[0.02]&kind=array", 0.02, None),
        ("dt=-1&fps=20", 0.05, "0.05 s is taken from the frame rate, 20 per second"),
        ("fps=20", 0.05, "0.05 s is taken from the frame rate, 20 per second"),
        ("fps=0", 0.05, "0.05 s is a guess: the environment tells neither dt nor a frame rate"),
        ("", 0.05, "0.05 s is a guess: the environment tells neither dt nor a frame rate"),
    ],
)
def test_a_control_period_that_was_guessed_is_told(
    words: str, seconds: float, note: str | None
) -> None:
    task = f"foreign_env:Period{'?' if words else ''}{words}"
    env = make(task, PROPRIO)
    assert env.contract.control_dt_s == pytest.approx(seconds, rel=1e-6)
    told = [line for line in env.notes if line.startswith("control every")]
    assert len(told) == (note is not None)
    assert note is None or (re.search(note, told[0]) and "--control-dt SECONDS" in told[0])
    options = EnvOptions(observe="proprio", control_dt_s=0.5, action_repeat=2)
    corrected = make(task, options)
    assert corrected.contract.control_dt_s == 1.0
    assert not [line for line in corrected.notes if line.startswith("control every")]
    assert EnvOptions.from_dict(corrected.contract.options) == options


def test_a_clock_that_can_be_read_goes_before_what_is_told() -> None:
    env = make("foreign_env:Hidden", PROPRIO)
    assert env.contract.control_dt_s == pytest.approx(0.02)
    assert not [line for line in env.notes if line.startswith("control every")]


def test_a_task_that_knows_its_period_takes_no_other() -> None:
    with pytest.raises(ValueError, match="fetch_reach knows its own control period"):
        make("fetch_reach", EnvOptions(observe="proprio", control_dt_s=0.5))
    with pytest.raises(ValueError, match="control_dt_s is above 0 s"):
        EnvOptions(control_dt_s=0.0)


def test_actions_without_limits_are_told() -> None:
    env = make("foreign_env:Unlimited", PROPRIO)
    assert env.contract.action.low == (-1.0, -1.0, -2.0)
    (told,) = [line for line in env.notes if line.startswith("actions")]
    assert "no limits in 2 of 3: of -1e+07 to 1e+07 the range -1 to 1 is used" in told


def test_where_the_task_sets_no_limit_the_cut_is_told() -> None:
    env = make("foreign_env:Tall")
    assert any("cut after 1000 " in n and "?max_episode_steps=N" in n for n in env.notes)
    assert not any("1000" in note for note in make("gym:toy_env:Toy-v0", PROPRIO).notes)


def test_what_a_module_lacks_is_told_with_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_it.py").write_text("import nobody_has_this\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"No module named 'nobody_has_this' \(raised in needs_it"):
        make("gym:needs_it:X-v0", PROPRIO)
