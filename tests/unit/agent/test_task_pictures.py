"""`robodreamer tasks NAME [--show]`: details of a task, and pictures from its cameras."""

import dataclasses
import itertools
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import matplotlib.image
import mujoco
import numpy as np
import pytest

from conformance_tasks import Fit
from fine_mesh import lump
from robodreamer.cli.main import main
from robodreamer.config import named_config
from robodreamer.tasks.costs import measure_costs
from robodreamer.visualization.tasks import CLIP_S, CLIP_SIDE, SHEET_SIDE
from robodreamer_sim import EnvOptions, VectorEnv, make

SIDE = named_config("").data.image_size
"""Side of the pictures that training observes on this machine, in pixels."""


def test_a_task_by_name_is_described_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "adroit_pen"]) == 0
    out = capsys.readouterr().out
    assert "adroit_pen_sparse" not in out
    env = make("adroit_pen", EnvOptions(image_size=(SIDE, SIDE)))
    for signal in env.contract.observations:
        assert f"{signal.name} {'x'.join(map(str, signal.shape))}" in out
    for word in (f"image/scene {SIDE}x{SIDE}x3", "rad", "WRJ1", "every 0.01 s, 200 steps"):
        assert word in out
    assert f"cameras      {', '.join(env.camera_names)}\n" in out
    assert "success      known after each step" in out
    assert max(map(len, out.splitlines())) <= 80
    env.close()


def test_a_few_tasks_are_described_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tasks", "dmc_reacher"]) == 0
    out = capsys.readouterr().out
    names = [line for line in out.splitlines() if line and not line.startswith(" ")]
    assert names == ["dmc_reacher_easy", "dmc_reacher_hard"]
    assert out.count("success      unknown") == 2


def test_show_saves_a_sheet_of_every_camera_and_a_clip(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["tasks", "--show", "dmc_cartpole_swingup", "--out", str(tmp_path)]) == 0
    sheet, clip = tmp_path / "dmc_cartpole_swingup.png", tmp_path / "dmc_cartpole_swingup.mp4"
    out = capsys.readouterr().out
    assert f"wrote {sheet}" in out
    assert f"wrote {clip}" in out
    env = make("dmc_cartpole_swingup")
    num_cameras = len(env.camera_names)
    env.close()
    assert num_cameras * SHEET_SIDE < matplotlib.image.imread(sheet).shape[0] < 2000
    with av.open(str(clip)) as file:
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        assert file.streams.video[0].average_rate == 25
    assert len(frames) == CLIP_S * 25
    assert frames[0].shape == (CLIP_SIDE, num_cameras * CLIP_SIDE, 3)
    moved = np.abs(frames[0].astype(int) - frames[-1]).max()
    assert moved > 50


def test_a_task_without_pictures_is_described_with_the_guesses_about_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks", "foreign_env:Base"]) == 0
    out = capsys.readouterr().out
    assert "Three numbers, two motors, twelve steps" in out
    assert "observes     proprio/observation 3" in out
    assert "cameras      none" in out
    assert "it has no picture: train it with --observe proprio" in " ".join(out.split())
    words = " ".join(out.split())
    assert "control every 0.05 s, cut after 1000 steps" in words
    assert "control every 0.05 s is a guess" in words
    assert "--control-dt SECONDS" in words
    assert "episodes are cut after 1000 simulator steps" in words
    assert "TASK?max_episode_steps=N" in words
    assert max(map(len, out.splitlines())) <= 80


def test_pictures_that_are_observed_are_shown(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["tasks", "foreign_env:TwoCameras", "--show", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"image/wrist {SIDE}x{SIDE}x4" in out
    assert "cameras      front, wrist" in out
    assert matplotlib.image.imread(tmp_path / "foreign_env_TwoCameras.png").shape[0] > SHEET_SIDE


def test_the_list_names_the_forms_of_unlisted_tasks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tasks"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for form in ("gym:ID", "gym:MODULE:ID", "module:Class", "module:function", "?key=value"):
        assert form in out


class Heavy(Fit):
    """Turn what a CAD program has drawn.

    Further words.
    """

    def build(self) -> Any:
        spec = super().build()
        vertices, triangles = lump(150)
        spec.add_mesh(name="lump", uservert=vertices.ravel(), userface=triangles.ravel())
        spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname="lump")
        return spec


def output_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the output of `robodreamer tasks` on one line."""
    assert main(["tasks", *words]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_more_triangles_than_pixels_are_reported_with_a_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pixels = SIDE**2
    model = Heavy("heavy", EnvOptions(observe="proprio")).model
    number = int(model.mesh_facenum[0])
    assert number > 40_000
    full = output_of(capsys, "test_task_pictures:Heavy")
    assert "test_task_pictures:Heavy Turn what a CAD program has drawn. observes" in full
    assert re.search(r"step time [0-9.e-]+ ms of physics, [0-9.e-]+ ms of pictures", full)
    share = number / pixels
    assert f"meshes {number:,} triangles are drawn, {share:,.0f} for each pixel, which" in full
    assert "--data.meshes thin draws fewer" in full
    thinned = output_of(capsys, "test_task_pictures:Heavy", "--meshes", "thin")
    (faces,) = re.findall(r"meshes ([0-9,]+) triangles", thinned)
    assert 100 < int(faces.replace(",", "")) <= 2000
    assert "--data.meshes" not in thinned
    assert "meshes" not in output_of(capsys, "conformance_tasks:Fit"), "it has none"


def test_a_task_whose_steps_fail_is_described_all_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = output_of(capsys, "foreign_env:BreaksLater")
    assert "observes proprio/observation 3" in words
    assert "step time unknown, because a step raises RuntimeError: lost contact" in words


@pytest.mark.parametrize(
    "words",
    [["tasks", "arm_reach"], pytest.param(["tasks", "check", "arm_reach"], marks=pytest.mark.slow)],
)
def test_a_missing_back_end_raises_a_clear_error(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "robodreamer", *words],
        env={**os.environ, "MUJOCO_GL": "nowhere", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("robodreamer: MuJoCo cannot load what MUJOCO_GL=nowhere names")
    assert done.stderr.count("\n") == 1


def test_a_vector_env_reports_too_many_triangles_as_well() -> None:
    small = EnvOptions(image_size=(32, 32))
    for options in (small, dataclasses.replace(small, meshes="thin")):
        envs = VectorEnv("test_task_pictures:Heavy", options, num_envs=2, num_workers=0, seed=0)
        is_reported = any("triangles are drawn" in note for note in envs.notes)
        envs.close()
        assert is_reported == (options is small)


def test_costs_are_medians_of_measured_durations() -> None:
    env = make("test_task_pictures:Heavy", EnvOptions(image_size=(16, 16)))
    ticks = itertools.chain(*((0.0, 0.002 if i % 5 else 9.0) for i in range(25)))
    costs = measure_costs(env, lambda: next(ticks))
    assert (costs.physics_s, costs.pictures_s, costs.faces.num_pixels) == (0.002, 0.002, 256)
    env.close()


def test_a_sheet_keeps_the_colour_of_small_objects(tmp_path: Path) -> None:
    assert main(["tasks", "arm_push", "--show", "--out", str(tmp_path)]) == 0
    sheet = matplotlib.image.imread(tmp_path / "arm_push.png")[..., :3]
    is_green = sheet[..., 1] - sheet[..., [0, 2]].max(axis=-1) > 0.1
    scene, wrist = np.array_split(is_green, 2)
    assert scene.sum() > 50, "the block, which is 3 % of the picture"
    assert wrist.sum() > 50


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["foreign_env:Base", "--show"], "has no rgb_array rendering and so nothing to show"),
        (["foreign_env:make_key_error"], "make_key_error: KeyError: 'left_arm' .raised in foreign"),
        (["hand_reach", "--out", "looks"], "--out .* goes with --show"),
        (["hand_reach", "--show", "looks"], "tasks does not know 'looks'"),
        (["dmc_", "--show"], "--show takes at most 4 tasks, 51 are chosen; name one"),
        (["gym:CartPoel-v1"], "the closest ids are CartPole-v1"),
        (["hand_raech"], "no task has 'hand_raech' in it; the closest are hand_reach"),
    ],
)
def test_a_task_that_cannot_be_described_or_shown_raises_a_clear_error(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tasks", *words]) == 2
    assert re.search(complaint, capsys.readouterr().err)
