"""Recurrent cells of the RSSM with their input layers: the deterministic part of its memory.

All cells share one interface. What does not depend on the state is computed for all steps of a
sequence at once: `cut_weights` once, `project_action` for all actions; `forward` is one step.

    block_gru        block-diagonal GRU, three input layers             DreamerV3, appendix B
    gru              GRU with two biases, reset after the product       DreamerV1; Cho et al., 2014
    layer_norm_gru   GRU with a layer norm over all gates               DreamerV2, `GRUCell` of its
                                                                        code; Ba et al., 2016

Shapes: D deter, L flat latent, H hidden, A action, P projected action; `*batch` any leading axes.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from robodreamer.config import NetworkConfig
from robodreamer.models.layers import BlockGRU, Layer, LayerNorm, LayerStyle, Linear, layer_style


class InputWeights(NamedTuple):
    """Weights of the input layer, cut by what they multiply; made once per sequence."""

    stoch: Float[Tensor, "H L"]
    action: Float[Tensor, "H A"]


class PlainCell(nn.Module, ABC):
    """Cell whose only input layer reads latent and action together."""

    def __init__(self, stoch: int, action: int, hidden: int, style: LayerStyle) -> None:
        super().__init__()
        self.stoch_size = stoch
        self.input = Layer(stoch + action, hidden, style)

    def cut_weights(self) -> InputWeights:
        """Cut the input layer, so that its part of the action is multiplied for all steps."""
        weight = self.input.linear.weight
        return InputWeights(weight[:, : self.stoch_size], weight[:, self.stoch_size :])

    def project_action(
        self, action: Float[Tensor, "*batch A"], weights: InputWeights
    ) -> Float[Tensor, "*batch H"]:
        """Return the action's part of the input layer, bias included."""
        return F.linear(action, weights.action, self.input.linear.bias)

    def forward(
        self,
        deter: Float[Tensor, "B D"],
        stoch: Float[Tensor, "B L"],
        projected_action: Float[Tensor, "B H"],
        weights: InputWeights,
    ) -> Float[Tensor, "B D"]:
        """Advance the state by one step; `projected_action` comes from `project_action`."""
        x = self.input.activate(F.linear(stoch, weights.stoch) + projected_action)
        return self.advance(x, deter)

    @abstractmethod
    def advance(self, x: Float[Tensor, "B H"], deter: Float[Tensor, "B D"]) -> Tensor:
        """Return the next state from the input layer's output and the state."""


class GRU(PlainCell):
    """Gated recurrent unit with separate biases of input and state, as in DreamerV1."""

    def __init__(self, deter: int, stoch: int, action: int, hidden: int, style: LayerStyle) -> None:
        super().__init__(stoch, action, hidden, style)
        self.cell = nn.GRUCell(hidden, deter)
        for gate in self.cell.weight_ih.chunk(3):
            nn.init.xavier_uniform_(gate)
        nn.init.orthogonal_(self.cell.weight_hh)
        nn.init.zeros_(self.cell.bias_ih)
        nn.init.zeros_(self.cell.bias_hh)

    def advance(self, x: Float[Tensor, "B H"], deter: Float[Tensor, "B D"]) -> Tensor:
        """Return the next state."""
        return self.cell(x, deter)


class LayerNormGRU(PlainCell):
    """Gated recurrent unit with a layer norm over the sum that all three gates are cut from.

    A bias of -1 keeps most of an untrained unit's state.
    """

    def __init__(self, deter: int, stoch: int, action: int, hidden: int, style: LayerStyle) -> None:
        super().__init__(stoch, action, hidden, style)
        self.gates = Linear(hidden + deter, 3 * deter, initializer=style.initializer)
        self.norm = LayerNorm(3 * deter)

    def advance(self, x: Float[Tensor, "B H"], deter: Float[Tensor, "B D"]) -> Tensor:
        """Return the next state."""
        gates = self.norm(self.gates(torch.cat([x, deter], -1)))
        reset, candidate, update = gates.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        return torch.lerp(deter, candidate, torch.sigmoid(update - 1))


Cell = BlockGRU | GRU | LayerNormGRU
Weights = BlockGRU.Weights | InputWeights


def make_cell(network: NetworkConfig, stoch: int, action: int) -> Cell:
    """Build the cell that `network.parts` names, for a flat latent of `stoch` elements."""
    style = layer_style(network.parts)
    if network.parts.cell == "block_gru":
        return BlockGRU(
            network.deter,
            stoch,
            action,
            network.hidden,
            network.blocks,
            network.dynamics_layers,
            style,
        )
    cells = {"gru": GRU, "layer_norm_gru": LayerNormGRU}
    return cells[network.parts.cell](network.deter, stoch, action, network.hidden, style)
