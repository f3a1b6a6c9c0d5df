"""Recurrent cells, against their formulas in numpy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robodreamer.config import preset_parts
from robodreamer.models.cells import GRU, Cell, LayerNormGRU, make_cell
from toy_agent import NETWORK

BATCH, STOCH, ACTION = 3, 10, 2


def make(cell: Any) -> Cell:
    torch.manual_seed(0)
    parts = replace(preset_parts("dreamer_v2"), cell=cell)
    made = make_cell(replace(NETWORK, parts=parts), STOCH, ACTION)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return (
        torch.randn(BATCH, NETWORK.deter, generator=generator),
        torch.randn(BATCH, STOCH, generator=generator),
        torch.randn(BATCH, ACTION, generator=generator),
    )


def advance(cell: Cell) -> Tensor:
    deter, stoch, action = inputs()
    weights = cell.cut_weights()
    return cell(deter, stoch, cell.project_action(action, weights), weights)


def array(value: Tensor) -> np.ndarray:
    return value.detach().numpy().astype(np.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def input_layer(cell: GRU | LayerNormGRU) -> np.ndarray:
    """Return elu(W [stoch, action] + b)."""
    _, stoch, action = map(array, inputs())
    linear = cell.input.linear
    x = np.concatenate([stoch, action], -1) @ array(linear.weight).T + array(linear.bias)
    return np.where(x > 0, x, np.expm1(x))


def test_the_gru_resets_after_the_product_and_has_two_biases() -> None:
    cell = make("gru")
    assert isinstance(cell, GRU)
    x, h, gru = input_layer(cell), array(inputs()[0]), cell.cell
    from_x = np.split(x @ array(gru.weight_ih).T + array(gru.bias_ih), 3, -1)
    from_h = np.split(h @ array(gru.weight_hh).T + array(gru.bias_hh), 3, -1)
    reset, keep = (sigmoid(from_x[i] + from_h[i]) for i in range(2))
    candidate = np.tanh(from_x[2] + reset * from_h[2])
    expected = keep * h + (1 - keep) * candidate
    assert array(advance(cell)) == pytest.approx(expected, abs=1e-5)


def test_the_layer_norm_gru_normalises_all_gates_together_and_mostly_keeps_its_state() -> None:
    cell = make("layer_norm_gru")
    assert isinstance(cell, LayerNormGRU)
    x, h = input_layer(cell), array(inputs()[0])
    gates = np.concatenate([x, h], -1) @ array(cell.gates.weight).T + array(cell.gates.bias)
    centred = gates - gates.mean(-1, keepdims=True)
    gates = centred / np.sqrt(gates.var(-1, keepdims=True) + 1e-3)
    gates = gates * array(cell.norm.weight) + array(cell.norm.bias)
    reset, candidate, update = np.split(gates, 3, -1)
    update = sigmoid(update - 1)
    expected = update * np.tanh(sigmoid(reset) * candidate) + (1 - update) * h
    assert array(advance(cell)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("cell", ["block_gru", "gru", "layer_norm_gru"])
def test_every_cell_projects_the_actions_of_a_sequence_at_once(cell: str) -> None:
    made, (_, _, action) = make(cell), inputs()
    weights = made.cut_weights()
    together = made.project_action(action.expand(4, BATCH, ACTION), weights)
    assert torch.allclose(together[2], made.project_action(action, weights), atol=1e-6)
    assert advance(made).shape == (BATCH, NETWORK.deter)
