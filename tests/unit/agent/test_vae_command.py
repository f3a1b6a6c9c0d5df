"""`robodreamer vae`: where pictures come from, what training leaves, and what is refused."""

import csv
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robodreamer.cli.main import main
from robodreamer.config.vae import VaeConfig
from robodreamer.models.vae import VAE
from robodreamer.runs.vae_folder import LoadedVae, load_vae, write_vae
from robodreamer.vae.fit import COLUMNS, Data, fit, make_vae
from robodreamer.vae.frames import Frames, FrameSource, film_motion, open_source, split
from robodreamer.vae.motion import MotionStyle, RandomMotion, motion_style
from robodreamer.vae.sheets import interpolation_sheet, reconstruction_sheet
from robodreamer_deploy.contract import ActionSpec, Contract, Signal
from robodreamer_sim import EnvOptions, make

QUICK = (
    "--size", "24", "21", "--depth", "4", "--latent", "3", "--updates", "30", "--batch-size", "20",
    "--learning-rate", "3e-3", "--device", "cpu",
)  # fmt: skip
SHEETS = {"reconstructions", "samples", "interpolations", "traversals", "curves"}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def draw_bars(folder: Path, count: int = 40, size: tuple[int, int] = (48, 40)) -> Path:
    """Save pictures of a bright bar that stands somewhere, half of them JPEG, some larger."""
    folder.mkdir()
    height, width = size
    random = np.random.default_rng(0)
    for number in range(count):
        scale = 1 + number % 2
        picture = np.full((scale * height, scale * width, 3), 40, np.uint8)
        left = int(random.integers(0, scale * (width - 8)))
        picture[:, left : left + 8 * scale] = (220, 200, 60)
        ending = ("png", "JPG")[number % 2]
        Image.fromarray(picture).save(folder / f"{number:03d}.{ending}", quality=95)
    return folder


def collect(source: FrameSource) -> Frames:
    return source.collect(lambda count, total: None)


def complaint(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Return the one line in which the command refuses its words."""
    assert main(["vae", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert not Path("runs").exists(), "a refused run leaves no folder"
    return line.removeprefix("robodreamer: ")


def test_a_folder_of_pictures_becomes_an_autoencoder_with_sheets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = draw_bars(tmp_path / "bars"), tmp_path / "out"
    assert main(["vae", str(source), "--out", str(out), *QUICK]) == 0
    said = capsys.readouterr()
    assert "38 pictures of 24x21 (padded to 24x24) for training, 2 held out" in said.out
    assert "KL" in said.err
    assert "PSNR" in said.err
    assert {path.stem for path in out.glob("*.png")} == SHEETS
    assert all(path.stat().st_size < 150_000 for path in out.glob("*.png"))
    with (out / "metrics.csv").open() as file:
        lines = [{k: float(v) for k, v in line.items()} for line in csv.DictReader(file)]
    assert lines[-1]["update"] == 30
    assert lines[-1]["psnr"] > lines[0]["psnr"] + 3
    figures = json.loads((out / "vae.json").read_text())["figures"]
    assert figures["kl"] == pytest.approx(lines[-1]["kl"], rel=1e-5)
    assert f"PSNR {figures['psnr']:.1f} dB" in said.out.splitlines()[-1]
    loaded = load_vae(out)
    assert (loaded.shape, loaded.config.latent) == ((24, 21, 3), 3)
    held_out = torch.from_numpy(split(collect(open_source(loaded.config))).held_out)
    error = loaded.model.reconstruct(held_out) - held_out / 255
    decibels = -10 * error.square().mean((1, 2, 3)).log10()
    assert decibels.mean().item() == pytest.approx(figures["psnr"], abs=1e-3)


def test_the_same_seed_gives_the_same_weights_and_another_one_others() -> None:
    pictures = torch.randint(0, 256, (30, 8, 8, 3), dtype=torch.uint8)
    data = Data(pictures[:25], pictures[25:])

    def trained(seed: int, updates: int) -> torch.Tensor:
        config = VaeConfig(
            source="x", depth=2, depth_multipliers=(1,), latent=2, seed=seed, updates=updates,
            batch_size=10,
        )  # fmt: skip
        model = make_vae(config, (8, 8, 3))
        assert [m.update for m in fit(model, config, data, lambda: False)] == [
            *range(1, updates + 1)
        ]
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    first, again, other = trained(1, 5), trained(1, 5), trained(2, 5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, trained(1, 4))


def test_training_ends_when_it_is_told_to_with_figures_of_the_held_out_pictures() -> None:
    pictures = torch.randint(0, 256, (12, 8, 8, 3), dtype=torch.uint8)
    config = VaeConfig(source="x", depth=2, depth_multipliers=(1,), latent=2)
    model, asked = make_vae(config, (8, 8, 3)), iter([False, False, True])
    moments = list(fit(model, config, Data(pictures[:10], pictures[10:]), lambda: next(asked)))
    assert [moment.is_evaluated for moment in moments] == [False, False, True]
    assert moments[-1].figures.keys() == set(COLUMNS)
    short = dataclasses.replace(config, minutes=1e-9)
    moments = list(fit(model, short, Data(pictures[:10], pictures[10:]), lambda: False))
    assert [moment.is_evaluated for moment in moments] == [True]


def test_a_task_is_filmed_while_it_moves_and_the_same_seed_films_the_same(tmp_path: Path) -> None:
    config = VaeConfig(source="arm_reach", size=(16, 24), frames=12)
    first, again = (collect(open_source(config)) for _ in range(2))
    assert first.shape == (12, 16, 24, 3)
    assert np.array_equal(first, again)
    assert all((first[i] != first[i + 1]).any() for i in range(11))
    other = collect(open_source(VaeConfig(source="arm_reach", size=(16, 24), frames=12, seed=1)))
    assert (first != other).any()


def test_the_camera_that_is_named_is_filmed() -> None:
    task = "foreign_env:TwoCameras"
    source = open_source(VaeConfig(source=task, size=(8, 8), frames=2, camera="wrist"))
    assert "camera wrist" in source.text
    both = make(task, EnvOptions(observe="camera", cameras=("front:8x8", "wrist:8x8")))
    front, wrist = (
        next(film_motion(both, f"image/{name}", motion_style(task), seed=0))
        for name in ("front", "wrist")
    )
    seen = collect(source)[0]
    assert np.array_equal(seen, wrist)
    assert seen.shape != front.shape or (seen != front).any()


REFUSED = {
    "nothing": ((), "name a task with a camera, such as"),
    "no camera": (
        ("gym:point_env:Point-v0",),
        "gym:point_env:Point-v0 has no camera to learn from",
    ),
    "no such task": (("fetch_psh",), "the closest are fetch_push"),
    "no such folder": (("no/such",), "no/such is not a folder; name a folder of PNG or JPEG"),
    "no such camera": (("arm_reach", "--camera", "front"), "no camera 'front'; it has "),
    "too small": (("arm_reach", "--size", "3", "64"), "3x64 pixels; one stage of convolutions"),
    "unknown option": (("arm_reach", "--latnet", "3"), "the closest are --latent"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_in_one_sentence(
    case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, sentence = REFUSED[case]
    assert sentence in complaint(capsys, *words)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--size", "0", "64"), "--size is a height and a width in pixels"),
        (("--latent", "0"), "--latent has to be more than 0"),
        (("--depth-multipliers", "0"), "--depth-multipliers has to be one number or more"),
    ],
)
def test_numbers_out_of_range_are_refused(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["vae", "arm_reach", *words])
    assert sentence in " ".join(capsys.readouterr().err.replace("│", "").split())


def test_folders_without_pictures_or_with_broken_ones_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no PNG or JPEG pictures; at least 10" in complaint(
        capsys, str(tmp_path / "empty")
    )
    bars = draw_bars(tmp_path / "bars", count=12)
    (bars / "003.JPG").write_bytes(b"no picture")
    assert main(["vae", str(bars), "--out", "out", *QUICK]) == 2
    assert f"{bars}/003.JPG cannot be read as a picture" in capsys.readouterr().err


def test_a_folder_that_holds_an_autoencoder_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "vae.json").write_text("{}")
    assert "holds an autoencoder already" in complaint(capsys, "arm_reach", "--out", str(tmp_path))
    assert (tmp_path / "vae.json").read_text() == "{}"


def test_what_is_no_autoencoder_or_damaged_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no autoencoder: vae\.json is missing"):
        load_vae(tmp_path)
    out, config = tmp_path / "out", VaeConfig(source="x", depth=2, latent=2)
    out.mkdir()
    write_vae(out, LoadedVae(make_vae(config, (24, 24, 3)), config, (24, 24, 3)), {"kl": 1.0})
    assert load_vae(out).config == config
    record = json.loads((out / "vae.json").read_text())
    record["config"]["latent"] = 4
    (out / "vae.json").write_text(json.dumps(record))
    with pytest.raises(
        ValueError, match=r"cannot be used: vae\.safetensors does not fit vae\.json"
    ):
        load_vae(out)


def contract(size: int, kind: str = "continuous", dt_s: float = 0.02) -> Contract:
    action = (
        ActionSpec(size=size, kind="discrete")
        if kind == "discrete"
        else ActionSpec(size=size, low=(-1.0,) * size, high=(1.0,) * size)
    )
    signal = Signal(name="image/front", shape=(8, 8, 3), dtype="uint8")
    return Contract(task="x", observations=(signal,), action=action, control_dt_s=dt_s)


def test_motion_is_smooth_and_forgets_at_the_same_pace_at_any_control_period() -> None:
    style = MotionStyle(center_spread=(0.0,), spread=(0.3,), memory_s=0.4)
    for dt_s, lag in ((0.02, 20), (0.1, 4)):
        motion = RandomMotion(contract(2, dt_s=dt_s), style, np.random.default_rng(0))
        actions = np.stack([motion.next_action() for _ in range(6_000)])
        assert actions.std() == pytest.approx(0.3, rel=0.1)
        correlation = np.corrcoef(actions[:-lag, 0], actions[lag:, 0])[0, 1]
        assert correlation == pytest.approx(np.exp(-1), abs=0.1)


def test_a_car_gets_gas_and_hardly_brakes() -> None:
    style = motion_style("gym:CarRacing-v3?domain_randomize=true")
    motion = RandomMotion(contract(3), style, np.random.default_rng(0))
    steering, gas, brake = np.stack([motion.next_action() for _ in range(2000)]).T
    assert abs(steering.mean()) < 0.3
    assert gas.mean() > brake.mean() + 0.3
    assert brake.mean() < -0.85
    assert motion_style("fetch_push") == MotionStyle()


def test_choices_are_one_hot_and_held_for_a_while() -> None:
    motion = RandomMotion(contract(4, "discrete"), MotionStyle(), np.random.default_rng(0))
    actions = np.stack([motion.next_action() for _ in range(500)])
    assert (actions.sum(-1) == 1).all()
    assert set(np.unique(actions)) == {0.0, 1.0}
    changes = (actions[1:] != actions[:-1]).any(-1).mean()
    assert 0 < changes < 0.3


def test_the_beginning_of_episodes_is_skipped_and_another_one_begins_in_time() -> None:
    env = make("gym:toy_env:ToyEndless-v0", EnvOptions(observe="camera", image_size=(8, 8)))
    dt_s = env.contract.control_dt_s
    style = MotionStyle(skipped_s=3 * dt_s, filmed_s=4 * dt_s)
    filmed = film_motion(env, "image/camera", style, seed=0)  # brightness counts the steps
    assert [next(filmed).max() // 40 for _ in range(6)] == [3, 5, 3, 5, 3, 5]


def test_sheets_show_the_camera_in_blue_beside_what_the_model_draws() -> None:
    torch.manual_seed(0)
    config = VaeConfig(source="x", depth=2, depth_multipliers=(1,), latent=2)
    model = VAE((8, 8, 1), config.network, 2)
    pictures = torch.randint(0, 256, (12, 8, 8, 1), dtype=torch.uint8)
    drawn = reconstruction_sheet(model, pictures)
    blue = (drawn == np.array([0, 114, 178])).all(-1)
    assert blue.any()
    ways = interpolation_sheet(model, pictures, model.encode(pictures), np.random.default_rng(0))
    orange = (ways == np.array([213, 94, 0])).all(-1)
    assert orange.any()
