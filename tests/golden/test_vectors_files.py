"""The golden files: none is missing, and a test compares everything in them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from agents import FILES
from vectors import FOLDER, FORWARD, Limits, case_names, difference, read

REQUIRED = (
    "01_symlog_twohot.npz",
    "02_onehot_unimix.npz",
    "03_outputs.npz",
    "04_layers_rssm_step.npz",
    "05_rssm_sequence.npz",
    "06a_encdec_vector.npz",
    "06b_encdec_image.npz",
    "06c_encdec_both.npz",
    "06d_encdec_twoimages.npz",
    "07_actor_critic.npz",
    "08_optimizer.npz",
    *FILES,
    "09c_replay_context.npz",
    "10_name_map.json",
)
# The cases that tests look for, by the first part of their names.
KINDS = {
    "01": ("symlog", "twohot"),
    "02": ("unimix",),
    "03": (
        "bounded_normal", "binary", "symlog_mse", "image_mse", "categorical", "head_rew",
        "head_con", "head_val", "head_pol_cont", "head_pol_disc",
    ),
    "04": ("rmsnorm", "linear", "blocklinear", "conv", "core", "prior", "posterior"),
    "05": ("seq",),
    "06": ("enc", "dec"),
    "07": ("lambda", "retnorm", "imag", "repl"),
    "08": ("default", "fast", "nowarm", "schedule"),
    "09c": ("context",),
}  # fmt: skip
WAYS = {
    "mode": {
        "total", "loss", "grad", "gradnorm", "retnorm", "ac/imag", "ac/reploss", "metric", "tokens",
        "feat", "carry", "imag", "recon_first_row_two_steps", "gradnorm_by_loss",
    },
    "offset": {"total", "loss", "grad", "gradnorm", "retnorm", "ac/imag", "ac/reploss", "metric"},
    "policy": {"in", "out"},
}  # fmt: skip


@pytest.mark.parametrize("file", REQUIRED)
def test_no_file_is_missing(file: str) -> None:
    assert (FOLDER / file).exists()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.name)
def test_every_case_belongs_to_a_test(path: Path) -> None:
    number = path.name.partition("_")[0]
    if path.name in FILES:
        assert case_names(path.name) == ["agent"]
        return
    kinds = KINDS[number if number in KINDS else number[:2]]
    assert all(name.startswith(kinds) for name in case_names(path.name))


@pytest.mark.parametrize("file", FILES)
def test_every_section_of_an_agent_belongs_to_a_test(file: str) -> None:
    names = [name.split("/") for name in read(file)[0]]
    ways = {parts[0] for parts in names} - {"in", "param", "state"}
    assert ways <= {*WAYS, "train_default", "train_fast"}
    for way, sections in WAYS.items():
        found = {
            "/".join(parts[1 : 3 if parts[1] == "ac" else 2]) for parts in names if parts[0] == way
        }
        assert found <= sections


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (np.array([1.0, np.nan], np.float32), "elementwise"),
        (np.array([1.0, 2.1], np.float32), "elementwise"),
        (np.array([[1.0, 2.0]], np.float32), "shape"),
    ],
)
def test_a_difference_is_told(wrong: np.ndarray, complaint: str) -> None:
    right = np.array([1.0, 2.0], np.float32)
    assert difference(torch.from_numpy(wrong), right, FORWARD).startswith(complaint)
    assert not difference(torch.from_numpy(right), right, FORWARD)


def test_many_small_differences_are_told() -> None:
    right = np.ones(100, np.float32)
    assert difference(right * 1.0005, right, Limits(1e-3, 1e-4)).startswith("relative")


def test_where_zero_is_expected_only_zero_will_do() -> None:
    zeros = np.zeros(3, np.float32)
    assert difference(zeros + 1e-9, zeros, FORWARD)
    assert difference(np.array([True]), np.array([False]), FORWARD)
