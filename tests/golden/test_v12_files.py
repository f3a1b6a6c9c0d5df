"""The golden files of DreamerV1 and V2: none is missing, and every case belongs to a test."""

from pathlib import Path

import numpy as np
import pytest
import torch
from layers_v12 import by_name, dense, feature_order
from torch import nn
from vectors import case_names, fill
from vectors_v12 import FOLDER, file

# The cases that tests look for, by file.
KINDS = {
    "v1_01_dists": ("tanh_normal", "onehot", "normal", "binary", "diag_normal"),
    "v1_02_rssm": ("gru", "seq_above", "seq_below"),
    "v1_03_encdec": ("enc", "dec"),
    "v1_04_heads": ("reward", "value", "pcont", "actor_tanh", "actor_onehot"),
    "v1_05a_agent_continuous": ("agent",),
    "v1_05b_agent_discrete": ("agent",),
    "v2_01_dists": (
        "trunc_normal", "tanh_normal", "normal", "mse", "binary", "onehot", "latent", "noise_",
        "schedule", "stream_",
    ),
    "v2_02_rssm": ("gru", "disc", "gauss", "kl_disc", "kl_gauss"),
    "v2_03_encdec": ("image", "vector", "both"),
    "v2_04_heads": ("reward", "discount", "vector", "actor_trunc", "actor_onehot"),
    "v2_05_behavior": ("cont_", "disc_", "slow_target", "lambda_return"),
    "v2_06a_agent_continuous": ("agent",),
    "v2_06b_agent_discrete": ("agent",),
    "v2_07_plan2explore": ("stoch", "deter", "embed", "mixed", "feat", "model_loss"),
    "v2_08_agent_plan2explore": ("agent",),
    "v12_optimizer": ("v1_", "v2_"),
}  # fmt: skip


@pytest.mark.parametrize("name", KINDS)
def test_no_file_of_v1_and_v2_is_missing_or_lacks_a_kind_of_case(name: str) -> None:
    cases = case_names(file(name))
    assert all(any(case.startswith(kind) for case in cases) for kind in KINDS[name])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.name)
def test_every_case_of_v1_and_v2_belongs_to_a_test(path: Path) -> None:
    assert all(name.startswith(KINDS[path.stem]) for name in case_names(path))


def test_a_layer_that_reads_features_finds_its_columns_in_the_other_order() -> None:
    deter, stoch, action = (np.arange(start, start + 2.0) for start in (0, 10, 20))
    theirs = np.arange(6.0)[:, None]  # one output
    layer = nn.Linear(6, 1)
    layers = dense(layer, "h0", feature_order(deter=2, stoch=2, others=2))
    fill(by_name(layers), {"h0/kernel": theirs, "h0/bias": np.zeros(1)})
    found = layer(torch.tensor(np.concatenate([deter, stoch, action]), dtype=torch.float32))
    assert found.item() == (np.concatenate([stoch, deter, action]) @ theirs).item()
