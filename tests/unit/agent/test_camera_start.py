"""A camera's encoder that starts from an autoencoder: the same features, or one sentence."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from robodreamer.cli.main import main
from robodreamer.config import NetworkConfig
from robodreamer.config.vae import VaeConfig
from robodreamer.models.encoder import Encoder
from robodreamer.models.vae import PICTURE
from robodreamer.runs.camera_start import start_camera
from robodreamer.runs.run_folder import load_run
from robodreamer.runs.vae_folder import LoadedVae, load_vae, write_vae
from robodreamer.vae.fit import make_vae
from robodreamer_deploy.contract import Signal

CONFIG = VaeConfig(source="x", size=(24, 24), depth=2, depth_multipliers=(1, 2), latent=3)
FITTING = CONFIG.network
WORDS = (
    "train", "gym:toy_env:Toy-v0", "--observe=camera", "--size=debug", "--preset=debug",
    "--protocol=debug", "--device=cpu", "--num-workers=0", "--steps=40", "--data.train-ratio=0",
    "--evaluate-minutes=0", "--data.image-size=24", "--run=run", "--network.parts.camera=valid",
    "--network.parts.norm=none", "--network.parts.camera-activation=relu", "--network.depth=2",
    "--network.depth-multipliers", "1", "2",
)  # fmt: skip
"""A run without updates: what it saves is what it started with."""


def camera(height: int, width: int, channels: int = 3, name: str = "image/front") -> Signal:
    return Signal(name=name, shape=(height, width, channels), dtype="uint8")


@pytest.fixture
def vae() -> LoadedVae:
    return LoadedVae(make_vae(CONFIG, (24, 24, 3)), CONFIG, (24, 24, 3))


@pytest.fixture
def saved(vae: LoadedVae, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Save the autoencoder in `vae`, and go where runs may be made."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "vae"
    folder.mkdir()
    write_vae(folder, vae, {})
    threads = torch.get_num_threads()
    yield folder
    torch.set_num_threads(threads)


def test_the_camera_has_the_features_of_the_autoencoder_and_all_else_stays(vae: LoadedVae) -> None:
    signals = [camera(24, 24), camera(32, 32, name="image/wrist")]
    encoder = Encoder(signals, FITTING)
    wrist = {k: v.clone() for k, v in encoder.cameras["32x32"].state_dict().items()}
    start_camera(encoder, FITTING, vae)
    pictures = torch.randint(0, 256, (4, 24, 24, 3), dtype=torch.uint8)
    expected = vae.model.encoder({PICTURE: pictures})
    assert torch.equal(encoder.cameras["24x24"]({"image/front": pictures}), expected)
    for name, value in encoder.cameras["32x32"].state_dict().items():
        assert torch.equal(value, wrist[name])


DIFFERENCES: dict[str, tuple[list[Signal], dict[str, Any], dict[str, Any], str]] = {
    "size": ([camera(32, 24)], {}, {}, "pictures (--data.image-size) of 24x24 (here 32x24)"),
    "channels": ([camera(24, 24, 1)], {}, {}, "channels of all cameras 3 (here 1)"),
    "stack": (
        [camera(24, 24), camera(24, 24, name="image/wrist")],
        {},
        {},
        "channels of all cameras 3 (here 6)",
    ),
    "depth": ([camera(24, 24)], {"depth": 3}, {}, "--network.depth 2 (here 3)"),
    "stages": (
        [camera(24, 24)],
        {"depth_multipliers": (1, 3)},
        {},
        "--network.depth-multipliers 1 2 (here 1 3)",
    ),
    "kind": ([camera(24, 24)], {}, {"camera": "same"}, "--network.parts.camera valid (here same)"),
    "norm": ([camera(24, 24)], {}, {"norm": "layer"}, "--network.parts.norm none (here layer)"),
    "activation": (
        [camera(24, 24)],
        {},
        {"camera_activation": "elu"},
        "--network.parts.camera-activation relu (here elu)",
    ),
}


@pytest.mark.parametrize("case", DIFFERENCES)
def test_a_camera_of_another_shape_is_refused_with_what_differs(case: str, vae: LoadedVae) -> None:
    signals, sizes, parts, sentence = DIFFERENCES[case]
    network: NetworkConfig = replace(FITTING, parts=replace(FITTING.parts, **parts), **sizes)
    with pytest.raises(ValueError, match="only with") as raised:
        start_camera(Encoder(signals, network), network, vae)
    assert str(raised.value).endswith(f"only with {sentence}")


def test_a_run_starts_from_the_autoencoder_also_when_it_begins_again(saved: Path) -> None:
    expected = load_vae(saved).model.encoder.state_dict()
    assert main([*WORDS, "--camera-from", "vae"]) == 0
    assert json.loads(Path("run/config.json").read_text())["camera_from"] == str(saved)

    def started() -> bool:
        found = load_run(Path("run")).agent.world_model.encoder.cameras["24x24"].state_dict()
        return all(torch.equal(found[name], value) for name, value in expected.items())

    assert started()
    for left in ("checkpoints", "replay"):  # as if it had been killed before it saved
        shutil.rmtree(Path("run") / left)
    assert main(["train", "--resume", "--run=run"]) == 0
    assert started()


def test_what_cannot_start_a_camera_is_refused_before_there_is_a_run(
    saved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*WORDS, "--camera-from", "nothing"]) == 2
    assert "nothing holds no autoencoder: vae.json is missing" in capsys.readouterr().err
    assert main([*WORDS, "--network.depth=3", "--camera-from", str(saved)]) == 2
    assert "only with --network.depth 2 (here 3)" in capsys.readouterr().err
    assert not Path("run").exists()
    assert main([*WORDS, "--resume", "--camera-from", str(saved)]) == 2
    assert "--camera-from starts a new run" in capsys.readouterr().err
