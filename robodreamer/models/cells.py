"""Recurrent cells of the RSSM with their input layers: the deterministic part of its memory.

All cells share one interface. What does not depend on the state is computed for all steps of a
sequence at once: `cut_weights` once, `project_action` for all actions; `forward` is one step.

    block_gru        block-diagonal GRU, three input layers             DreamerV3, appendix B
    gru              GRU with two biases, reset after the product       DreamerV1; Cho et al., 2014
    layer_norm_gru   GRU with a layer norm over all gates               DreamerV2, `GRUCell` of its
                                                                        code; Ba et al., 2016

Shapes: D deter, L flat latent, G blocks, H hidden, A action, P projected action; `*batch` is any
leading axes.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from robodreamer.config import NetworkConfig
from robodreamer.models.layers import (
    ACTIVATIONS,
    V3_STYLE,
    BlockLinear,
    Layer,
    LayerNorm,
    LayerStyle,
    Linear,
    cut,
    join,
    layer_style,
    make_norm,
)


class Cell(nn.Module, ABC):
    """Recurrent cell with its input layers."""

    @abstractmethod
    def cut_weights(self) -> Any:
        """Cut weights by what they multiply, once per sequence, for the other two methods."""

    @abstractmethod
    def project_action(self, action: Float[Tensor, "*batch A"], weights: Any) -> Tensor:
        """Multiply actions by their weights, for all steps at once; the result is (*batch, P)."""

    @abstractmethod
    def forward(
        self,
        deter: Float[Tensor, "B D"],
        stoch: Float[Tensor, "B L"],
        projected_action: Tensor,
        weights: Any,
    ) -> Float[Tensor, "B D"]:
        """Advance the state by one step; `projected_action` comes from `project_action`."""


class BlockGRU(Cell):
    """Recurrent core: a GRU with block-diagonal matrices (DreamerV3, appendix B).

    Latent and action are joined to every block. The input layers read the whole state, so blocks
    still exchange information.
    """

    class Weights(NamedTuple):
        """Weights of the first block layer, cut by their inputs; made once per sequence."""

        deter: Float[Tensor, "G d d"]
        inputs: Float[Tensor, "I D"]
        """Weights of the hidden layers of deter and stoch, side by side."""
        action: Float[Tensor, "H D"]

    def __init__(
        self,
        deter: int,
        stoch: int,
        action: int,
        hidden: int,
        blocks: int,
        layers: int,
        style: LayerStyle = V3_STYLE,
    ) -> None:
        super().__init__()
        self.deter_input = Layer(deter, hidden, style)
        self.stoch_input = Layer(stoch, hidden, style)
        self.action_input = Layer(action, hidden, style)
        inputs = [deter + 3 * hidden * blocks] + [deter] * (layers - 1)
        stack = nn.ModuleList(BlockLinear(size, deter, blocks) for size in inputs)
        self.hidden = cast("Sequence[BlockLinear]", stack)
        norms = nn.ModuleList(make_norm(style.norm, deter) for _ in inputs)
        self.hidden_norms = cast("Sequence[nn.Module]", norms)
        self.activation = ACTIVATIONS[style.activation]
        self.gates = BlockLinear(deter, 3 * deter, blocks)

    def cut_weights(self) -> Weights:
        """Cut the first block layer, so that its inputs need not be repeated for every block."""
        weight = self.hidden[0].weight
        blocks, _, slice_size = weight.shape
        inputs = weight[:, slice_size:].transpose(0, 1).reshape(-1, blocks * slice_size)
        split = inputs.shape[0] * 2 // 3
        return self.Weights(weight[:, :slice_size], inputs[:split], inputs[split:])

    def project_action(
        self, action: Float[Tensor, "*batch A"], weights: Weights
    ) -> Float[Tensor, "*batch D"]:
        """Return the action's part of the first block layer, bias included.

        Elements beyond [-1, 1] count as +-1, because the environment clips them; the divisor is a
        constant for the gradient.
        """
        action = action / action.detach().abs().clamp(min=1.0)
        return F.linear(self.action_input(action), weights.action.T, self.hidden[0].bias)

    def forward(
        self,
        deter: Float[Tensor, "B D"],
        stoch: Float[Tensor, "B L"],
        projected_action: Float[Tensor, "B D"],
        weights: Weights,
    ) -> Float[Tensor, "B D"]:
        """Advance the state by one step; `projected_action` comes from `project_action`."""
        inputs = torch.cat([self.deter_input(deter), self.stoch_input(stoch)], -1)
        x = torch.addmm(projected_action, inputs, weights.inputs)
        old = cut(deter, self.gates.blocks)
        x = self.activation(self.hidden_norms[0](x + join(torch.bmm(old, weights.deter))))
        for layer, norm in zip(self.hidden[1:], self.hidden_norms[1:], strict=True):
            x = self.activation(norm(layer(x)))
        gates = self.gates.by_block(cut(x, self.gates.blocks)).unflatten(-1, (3, -1))
        reset, candidate, update = gates.unbind(-2)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1)  # an untrained core mostly keeps its state
        return join(torch.addcmul(old, update, candidate - old))


class InputWeights(NamedTuple):
    """Weights of the input layer, cut by what they multiply; made once per sequence."""

    stoch: Float[Tensor, "H L"]
    action: Float[Tensor, "H A"]


class PlainCell(Cell):
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
