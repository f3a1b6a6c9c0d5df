"""Recurrent state-space model (RSSM): the latent dynamics of the world model.

At every step the model carries a deterministic memory and a handful of latent variables, and it
has two opinions about the latter:

    deter       h_t = f(h_{t-1}, z_{t-1}, a_{t-1})
    posterior   z_t ~ q(z_t | h_t, x_t)     has seen the cameras and the joints
    prior       z_t ~ p(z_t | h_t)          has to guess them

`observe` runs the posterior over recorded data; `imagine_step` runs the prior ahead. The step is
what gets exported; the sequence does the same with everything hoisted out of the loop that does
not depend on the state.

Shapes: B batch, T time, A action, E tokens, D deter, S stoch variables, K classes, F feature.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import NetworkConfig
from robodreamer.models.distributions import Draw, Latent, mask_state
from robodreamer.models.layers import MLP, BlockGRU, Linear


class State(NamedTuple):
    """Latent state of the world; leading axes are (B,) or (B, T)."""

    deter: Float[Tensor, "*batch D"]
    stoch: Float[Tensor, "*batch S K"]

    @property
    def feature(self) -> Float[Tensor, "*batch F"]:
        """Everything a head may read: deter and the flattened stoch, F = D + S * K."""
        return torch.cat([self.deter, self.stoch.flatten(-2)], -1)

    def detach(self) -> "State":
        """Return the same state without its history."""
        return State(self.deter.detach(), self.stoch.detach())


class Inputs(NamedTuple):
    """What one step receives from outside, already multiplied by its weights."""

    action: Float[Tensor, "*batch D"]
    tokens: Float[Tensor, "*batch H"]


class Weights(NamedTuple):
    """Weights cut by what they multiply; made once per sequence."""

    core: BlockGRU.Weights
    posterior: Float[Tensor, "H D"]
    """The part of the posterior's first layer that meets deter."""


class RSSM(nn.Module):
    """RSSM with a block GRU, as in DreamerV3 (Hafner et al., 2025); the latent is exchangeable."""

    def __init__(
        self, network: NetworkConfig, latent: Latent, token_size: int, action_size: int
    ) -> None:
        super().__init__()
        self.latent = latent
        self.deter_size = network.deter
        self.core = BlockGRU(
            network.deter,
            latent.num_outputs,
            action_size,
            network.hidden,
            network.blocks,
            network.dynamics_layers,
        )
        self.prior = MLP(network.deter, network.hidden, network.prior_layers)
        self.prior_output = Linear(network.hidden, latent.num_outputs)
        self.posterior = MLP(network.deter + token_size, network.hidden, network.posterior_layers)
        self.posterior_output = Linear(network.hidden, latent.num_outputs)

    def initial(self, batch_size: int) -> State:
        """Return the all-zero state every episode starts from."""
        zeros = self.prior_output.bias.new_zeros
        return State(zeros(batch_size, self.deter_size), zeros(batch_size, *self.latent.shape))

    def observe(
        self,
        start: State,
        actions: Float[Tensor, "B T A"],
        tokens: Float[Tensor, "B T E"],
        is_first: Bool[Tensor, "B T"],
        draw: Draw,
    ) -> tuple[State, Float[Tensor, "B T S K"]]:
        """Filter a recorded sequence; return posterior states (B, T, ...) and log-probabilities.

        `actions[:, t]` is the one that led to `tokens[:, t]`. Where `is_first` is set, both it and
        the incoming state belong to another episode and are dropped.
        """
        weights = self._prepare()
        inputs = self._project(actions, tokens, is_first, weights)
        state, states, posteriors = start, [], []
        for action, token, first in zip(
            inputs.action.unbind(1), inputs.tokens.unbind(1), is_first.unbind(1), strict=True
        ):
            state, posterior = self._filter(state, Inputs(action, token), first, weights, draw)
            states.append(state)
            posteriors.append(posterior)
        return stack_time(states), torch.stack(posteriors, 1)

    def observe_step(
        self,
        state: State,
        action: Float[Tensor, "B A"],
        tokens: Float[Tensor, "B E"],
        is_first: Bool[Tensor, " B"],
        draw: Draw,
    ) -> tuple[State, Float[Tensor, "B S K"]]:
        """Advance one step with an observation; one step of `observe`."""
        weights = self._prepare()
        inputs = self._project(action, tokens, is_first, weights)
        return self._filter(state, inputs, is_first, weights, draw)

    def imagine_step(
        self,
        state: State,
        action: Float[Tensor, "B A"],
        draw: Draw,
        weights: BlockGRU.Weights | None = None,
    ) -> State:
        """Advance one step without an observation, on the prior alone.

        `weights` is `self.core.prepare()`, for callers that take many steps.
        """
        weights = weights or self.core.prepare()
        deter = self._advance(state, self.core.project_action(action, weights), weights)
        return State(deter, self.latent.draw(self.prior_log_probs(deter), draw))

    def prior_log_probs(self, deter: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch S K"]:
        """Return what the model expects before it sees the observation."""
        return self.latent.log_probs(self.prior_output(self.prior(deter)))

    def _prepare(self) -> Weights:
        first = self.posterior.layers[0].linear
        return Weights(self.core.prepare(), first.weight[:, : self.deter_size])

    def _project(
        self, action: Tensor, tokens: Tensor, is_first: Tensor, weights: Weights
    ) -> Inputs:
        """Multiply actions and tokens by the weights that meet them, for all steps at once."""
        action = action.masked_fill(is_first.unsqueeze(-1), 0.0)
        first = self.posterior.layers[0].linear
        return Inputs(
            self.core.project_action(action, weights.core),
            F.linear(tokens, first.weight[:, self.deter_size :], first.bias),
        )

    def _filter(
        self,
        state: State,
        inputs: Inputs,
        is_first: Bool[Tensor, " B"],
        weights: Weights,
        draw: Draw,
    ) -> tuple[State, Float[Tensor, "B S K"]]:
        state = State(mask_state(state.deter, is_first), mask_state(state.stoch, is_first))
        deter = self._advance(state, inputs.action, weights.core)
        posterior = self._posterior_log_probs(inputs.tokens + F.linear(deter, weights.posterior))
        return State(deter, self.latent.draw(posterior, draw)), posterior

    def _advance(self, state: State, projected_action: Tensor, weights: BlockGRU.Weights) -> Tensor:
        return self.core(state.deter, state.stoch.flatten(-2), projected_action, weights)

    def _posterior_log_probs(self, x: Float[Tensor, "B H"]) -> Float[Tensor, "B S K"]:
        """Go on after the first linear layer."""
        first, *others = self.posterior.layers
        x = F.silu(first.norm(x))
        for layer in others:
            x = layer(x)
        return self.latent.log_probs(self.posterior_output(x))


def stack_time(states: list[State]) -> State:
    """Stack T states of shape (B, ...) into one of shape (B, T, ...)."""
    deters, stochs = zip(*states, strict=True)
    return State(torch.stack(deters, 1), torch.stack(stochs, 1))
