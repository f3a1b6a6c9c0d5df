"""Films of a run: what training and `robodreamer dream` leave, and what is in it."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from test_dream import make_footage

from robodreamer.cli.main import main
from robodreamer.evaluation.evaluate import evaluate, make_evaluation_envs
from robodreamer.evaluation.policies import AgentPolicy
from robodreamer.models.sampling import ModeSampler
from robodreamer.runs.run_folder import load_run
from robodreamer.visualization.dream import dream
from robodreamer.visualization.run_videos import (
    describe_errors,
    make_recorder,
    prepare_films,
    save_evaluation,
)
from robodreamer.visualization.video_layout import BORDER, LINE, STRIP_SIDE
from toy_agent import SIGNALS, make_agent, make_contract
from toy_run import STEP, make_run

STEM = f"step-{STEP:09d}"
ALL = {"dream.mp4", "dream.png", "episode.mp4", "episode.png", "signals.png"}


def files(run: Path) -> set[str]:
    return {path.name.removeprefix(f"{STEM}-") for path in (run / "videos").iterdir()}


def num_frames(path: Path) -> int:
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("films") / "toy")


def test_an_evaluation_leaves_films_of_its_first_episode(tmp_path: Path) -> None:
    agent = make_agent()
    stills = save_evaluation(tmp_path, STEP, agent, make_footage(agent.contract, steps=9))
    assert set(stills) == {"dream", "signals"}
    assert files(tmp_path) == ALL
    assert num_frames(tmp_path / "videos" / f"{STEM}-dream.mp4") == 9
    assert num_frames(tmp_path / "videos" / f"{STEM}-episode.mp4") == 9 + 8  # and a pause of 0.8 s


def test_without_cameras_there_are_only_lines(tmp_path: Path) -> None:
    contract = make_contract(tuple(s for s in SIGNALS if not s.is_image))
    stills = save_evaluation(tmp_path, STEP, make_agent(contract), make_footage(contract))
    assert set(stills) == {"signals"}
    assert files(tmp_path) == {"signals.png"}


def test_an_episode_of_one_observation_leaves_nothing(tmp_path: Path) -> None:
    agent = make_agent()
    assert save_evaluation(tmp_path, STEP, agent, make_footage(agent.contract, steps=1)) == {}
    assert not (tmp_path / "videos").exists()


def test_recording_changes_no_evaluation_and_needs_no_second_simulator(run: Path) -> None:
    agent = load_run(run).agent
    results = []
    for is_recorded in (False, True):
        envs = make_evaluation_envs(agent.contract, 4, num_workers=0)
        policy = AgentPolicy(agent, envs.num_envs, ModeSampler())
        recorder = make_recorder(policy, agent.contract)
        with envs:
            results.append(evaluate(recorder if is_recorded else policy, envs, 4))
    np.testing.assert_array_equal(results[0].returns, results[1].returns)
    assert recorder.footage.num_steps == 3  # nobody acts on the very last observation
    assert results[1].lengths[0] == 3


def test_the_command_films_episodes_and_dreams(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dream", str(run), "--episodes", "2", "--context", "2"]) == 0
    out = capsys.readouterr().out
    assert files(run) == ALL
    assert num_frames(run / "videos" / f"{STEM}-episode.mp4") == 2 * (4 + 16)  # 20 per second
    assert num_frames(run / "videos" / f"{STEM}-dream.mp4") == 4
    assert "episode 2 of 2" in out
    assert all(f"{STEM}-{name}" in out for name in ALL)


def test_a_strip_shows_every_episode_above_its_dream(run: Path, tmp_path: Path) -> None:
    strip = tmp_path / "dream.webp"
    words = "--episodes=2", "--context=2", "--draw=sample", f"--strip={strip}"
    assert main(["dream", str(run), *words]) == 0
    with Image.open(strip) as film:
        assert getattr(film, "n_frames", 0) == 4
        first, size = film.convert("RGB").tobytes(), film.size
        film.seek(3)
        assert film.convert("RGB").tobytes() != first
    assert size == (2 * (STRIP_SIDE + 2 * BORDER), 2 * (STRIP_SIDE + 2 * BORDER + LINE))


def test_a_strip_of_a_run_without_cameras_raises_a_clear_error(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy", observe="proprio")
    with pytest.raises(ValueError, match="a strip shows what a camera sees"):
        prepare_films(run, None, 1, 2, print, strip=tmp_path / "dream.webp")


def test_a_checkpoint_that_is_not_there_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dream", str(run), "--checkpoint", "step-000000121"]) == 2
    assert STEM in capsys.readouterr().err
    assert main(["dream", str(run), "--context", "0"]) == 2
    assert "--context is at least 1, got 0" in capsys.readouterr().err


def test_a_task_that_has_changed_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy")
    contract = run / "contract.json"
    contract.write_text(contract.read_text().replace('"control_dt_s": 0.05', '"control_dt_s": 0.1'))
    with pytest.raises(ValueError, match="control_dt_s is "):
        prepare_films(run, None, 1, 5, print)


def test_errors_are_told_in_units(run: Path) -> None:
    agent = make_agent()
    found = dream(agent, make_footage(agent.contract), 4)
    lines = describe_errors(found, agent.contract)
    assert len(lines) == 1 + len(agent.contract.observations)
    (line,) = (line for line in lines if line.startswith("goal/position"))
    watched, imagined, still, unit = line.split()[1:]
    assert unit == "m"
    assert float(watched) == pytest.approx(found.errors["goal/position"][:4].mean(), abs=1e-4)
    assert float(imagined) == pytest.approx(found.errors["goal/position"][4:].mean(), abs=1e-4)
    assert float(still) == pytest.approx(found.still_errors["goal/position"][4:].mean(), abs=1e-4)
