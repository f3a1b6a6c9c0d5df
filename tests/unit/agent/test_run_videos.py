"""Films of a run: what training and `robodreamer dream` leave, and what is in it."""

from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest
from PIL import Image
from test_dream import make_footage

import robodreamer
from robodreamer.cli import visualize
from robodreamer.cli.main import main
from robodreamer.evaluation.evaluate import evaluate, make_evaluation_envs
from robodreamer.evaluation.policies import AgentPolicy
from robodreamer.models.sampling import ModeSampler
from robodreamer.runs.run_folder import load_run
from robodreamer.visualization.dream_layout import FILM_WIDTH, STRIP_SIDE
from robodreamer.visualization.run_videos import make_recorder, prepare_films, save_evaluation
from robodreamer.visualization.video_layout import BORDER, LINE
from robodreamer.visualization.views import VIEWS, DreamOptions
from robodreamer_sim.options import Observe
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


def test_without_cameras_still_and_film_are_lines(tmp_path: Path) -> None:
    contract = make_contract(tuple(s for s in SIGNALS if not s.is_image))
    stills = save_evaluation(tmp_path, STEP, make_agent(contract), make_footage(contract))
    assert set(stills) == {"signals"}
    assert files(tmp_path) == {"signals.png", "dream.mp4"}
    assert num_frames(tmp_path / "videos" / f"{STEM}-dream.mp4") == 9
    with av.open(str(tmp_path / "videos" / f"{STEM}-dream.mp4")) as film:
        stream = film.streams.video[0]
        assert stream.width == FILM_WIDTH
        assert stream.height > 200  # a caption alone has 34


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


EVERYTHING = {
    *(f"{name}.{end}" for name in ("reconstruction", "fantasy", "futures", "interpolation")
      for end in ("mp4", "png")), "errors.png", "errors.csv",
}  # fmt: skip


WITHOUT_CAMERAS = EVERYTHING | ALL - {"dream.png"}  # which is the sheet of the cameras


@pytest.mark.parametrize("observe", ["both", pytest.param("proprio", marks=pytest.mark.slow)])
def test_every_view_is_filmed_with_and_without_cameras(observe: Observe, tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy", observe=observe)
    films = robodreamer.dream(run, what=VIEWS, context=2, horizon=2, futures=3, log=lambda _: None)
    assert files(run) == (EVERYTHING | ALL if observe == "both" else WITHOUT_CAMERAS)
    assert {path.name for path in films.files} == {f"{STEM}-{name}" for name in files(run)}
    assert all(part is not None for part in films)
    assert films.futures is not None
    assert films.fantasy is not None
    assert [len(part.rewards) for part in (films.fantasy, films.futures)] == [1, 3]
    assert num_frames(run / "videos" / f"{STEM}-futures.mp4") == 3
    assert num_frames(run / "videos" / f"{STEM}-reconstruction.mp4") == 4
    if observe == "proprio":
        with av.open(str(run / "videos" / f"{STEM}-futures.mp4")) as file:
            assert file.streams.video[0].width == FILM_WIDTH


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--context", "0"], "--context is at least 1, got 0"),
        (["--episodes", "0"], "--episodes is at least 1, got 0"),
        (["--horizon", "-1"], "--horizon is at least 1, got -1"),
        (["--futures", "0"], "--futures is at least 1, got 0"),
        (["--futures", "65"], "--futures is at most 64, got 65"),
        (["--what"], "--what names nothing to show; there is open-loop, reconstruction"),
    ],
)
def test_counts_out_of_range_are_refused(
    words: list[str], message: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dream", str(run), *words]) == 2
    assert message in capsys.readouterr().err


def test_the_command_line_offers_all_views() -> None:
    assert get_args(visualize.View) == VIEWS


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
    with pytest.raises(ValueError, match=r"run has none; leave out --strip: a film of lines"):
        prepare_films(run, None, DreamOptions(strip=tmp_path / "dream.webp"), print)


def test_a_checkpoint_that_is_not_there_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["dream", str(run), "--checkpoint", "step-000000121"]) == 2
    assert STEM in capsys.readouterr().err


def test_a_task_that_has_changed_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy")
    contract = run / "contract.json"
    contract.write_text(contract.read_text().replace('"control_dt_s": 0.05', '"control_dt_s": 0.1'))
    with pytest.raises(ValueError, match="control_dt_s is "):
        prepare_films(run, None, DreamOptions(), print)
