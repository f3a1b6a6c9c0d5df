"""Recurrent state-space model (RSSM): the latent dynamics of the world model.

A state is a deterministic memory h and a set of latent variables z, which have two distributions:

    deter       h_t = f(h_{t-1}, z_{t-1}, a_{t-1})
    posterior   z_t ~ q(z_t | h_t, x_t)     with the observation x_t
    prior       z_t ~ p(z_t | h_t)          without it

`observe` runs the posterior over recorded data, `imagine_step` runs the prior ahead. The export
traces `observe_step`; `observe` computes the same, with all that does not depend on the state
hoisted out of the loop. Source: DreamerV3 (Hafner et al., 2025), "World model learning".

Shapes: B batch, T time, A action, E tokens, D deter, S latent variables with K elements and P
parameters each (`latents`), H hidden, F feature.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from robodreamer.config import NetworkConfig
from robodreamer.models.cells import make_cell
from robodreamer.models.latents import Latent
from robodreamer.models.layers import MLP, Linear, layer_style
from robodreamer.models.sampling import Sampler


class State(NamedTuple):
    """Latent state of the world; leading axes are (B,) or (B, T)."""

    deter: Float[Tensor, "*batch D"]
    stoch: Float[Tensor, "*batch S K"]

    @property
    def feature(self) -> Float[Tensor, "*batch F"]:
        """Input of the heads: deter and the flattened stoch, F = D + S * K."""
        return torch.cat([self.deter, self.stoch.flatten(-2)], -1)

    def detach(self) -> "State":
        """Return the same state without its gradients."""
        return State(self.deter.detach(), self.stoch.detach())


class Inputs(NamedTuple):
    """Action and tokens of one step, already multiplied by their weights."""

    action: Tensor
    """As the cell projects it."""
    tokens: Float[Tensor, "*batch H"]


class Weights(NamedTuple):
    """Weights cut by their inputs; made once per sequence."""

    core: Any
    """The cell's; see `cells`."""
    posterior: Float[Tensor, "H D"]
    """Part of the posterior's first layer that multiplies deter."""


class RSSM(nn.Module):
    """RSSM with an exchangeable recurrent cell and an exchangeable family of latents."""

    def __init__(
        self, network: NetworkConfig, latent: Latent, token_size: int, action_size: int
    ) -> None:
        super().__init__()
        self.latent = latent
        self.deter_size = network.deter
        self.core = make_cell(network, latent.size, action_size)
        style = layer_style(network.parts)
        self.prior = MLP(network.deter, network.hidden, network.prior_layers, style)
        self.prior_output = Linear(
            network.hidden, latent.num_outputs, initializer=style.initializer
        )
        self.posterior = MLP(
            network.deter + token_size, network.hidden, network.posterior_layers, style
        )
        self.posterior_output = Linear(
            network.hidden, latent.num_outputs, initializer=style.initializer
        )

    def initial(self, batch_size: int) -> State:
        """Return the all-zero state that every episode starts from."""
        zeros = self.prior_output.bias.new_zeros
        return State(zeros(batch_size, self.deter_size), zeros(batch_size, *self.latent.shape))

    def observe(
        self,
        start: State,
        actions: Float[Tensor, "B T A"],
        tokens: Float[Tensor, "B T E"],
        is_first: Bool[Tensor, "B T"],
        sampler: Sampler,
    ) -> tuple[State, Float[Tensor, "B T S P"]]:
        """Filter a recorded sequence; return posterior states (B, T, ...) and parameters.

        `actions[:, t]` led to `tokens[:, t]`. Where `is_first` is set, the action and the incoming
        state belong to another episode and are zeroed.
        """
        weights = self._cut_weights()
        inputs = self._project(actions, tokens, is_first, weights)
        state, states, posteriors = start, [], []
        for action, token, first in zip(
            inputs.action.unbind(1), inputs.tokens.unbind(1), is_first.unbind(1), strict=True
        ):
            state, posterior = self._filter(state, Inputs(action, token), first, weights, sampler)
            states.append(state)
            posteriors.append(posterior)
        return stack_time(states), torch.stack(posteriors, 1)

    def observe_step(
        self,
        state: State,
        action: Float[Tensor, "B A"],
        tokens: Float[Tensor, "B E"],
        is_first: Bool[Tensor, " B"],
        sampler: Sampler,
    ) -> tuple[State, Float[Tensor, "B S P"]]:
        """Advance one step with an observation; one step of `observe`."""
        weights = self._cut_weights()
        inputs = self._project(action, tokens, is_first, weights)
        return self._filter(state, inputs, is_first, weights, sampler)

    def imagine_step(
        self,
        state: State,
        action: Float[Tensor, "B A"],
        sampler: Sampler,
        weights: Any = None,
    ) -> State:
        """Advance one step without an observation, on the prior alone.

        `weights` is `self.core.cut_weights()`, for callers that take many steps.
        """
        weights = weights or self.core.cut_weights()
        deter = self._advance(state, self.core.project_action(action, weights), weights)
        return State(deter, self.latent.sample(self.prior_parameters(deter), sampler))

    def prior_parameters(self, deter: Float[Tensor, "*batch D"]) -> Float[Tensor, "*batch S P"]:
        """Return the parameters of the latents' distribution before the observation."""
        return self.latent.parameters_of(self.prior_output(self.prior(deter)))

    def _cut_weights(self) -> Weights:
        first = self.posterior.layers[0].linear
        return Weights(self.core.cut_weights(), first.weight[:, : self.deter_size])

    def _project(
        self, action: Tensor, tokens: Tensor, is_first: Tensor, weights: Weights
    ) -> Inputs:
        """Multiply actions and tokens by their weights, for all steps at once."""
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
        sampler: Sampler,
    ) -> tuple[State, Float[Tensor, "B S P"]]:
        state = State(mask_state(state.deter, is_first), mask_state(state.stoch, is_first))
        deter = self._advance(state, inputs.action, weights.core)
        posterior = self._posterior_parameters(inputs.tokens + F.linear(deter, weights.posterior))
        return State(deter, self.latent.sample(posterior, sampler)), posterior

    def _advance(self, state: State, projected_action: Tensor, weights: Any) -> Tensor:
        return self.core(state.deter, state.stoch.flatten(-2), projected_action, weights)

    def _posterior_parameters(self, x: Float[Tensor, "B H"]) -> Float[Tensor, "B S P"]:
        """Return the posterior's parameters from the output of its first linear layer."""
        first, *others = self.posterior.layers
        x = first.activate(x)
        for layer in others:
            x = layer(x)
        return self.latent.parameters_of(self.posterior_output(x))


def stack_time(states: list[State]) -> State:
    """Stack T states of shape (B, ...) into one of shape (B, T, ...)."""
    deters, stochs = zip(*states, strict=True)
    return State(torch.stack(deters, 1), torch.stack(stochs, 1))


def mask_state(
    value: Float[Tensor, " B *shape"], drop: Bool[Tensor, " B"]
) -> Float[Tensor, " B *shape"]:
    """Zero the rows marked in `drop`; masked, not multiplied, because 0 * NaN is NaN."""
    return value.masked_fill(drop.reshape(-1, *[1] * (value.dim() - 1)), 0.0)
