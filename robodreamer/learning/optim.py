"""Optimizer: adaptive gradient clipping, then LaProp.

Per tensor, in this order (DreamerV3, appendix B; AGC: Brock et al., 2021; LaProp: Ziyin et al.,
2020):

    g  <- g / max(1, |g| / (clip * max(floor, |p|)))        clip relative to the parameter
    nu <- beta2 nu + (1 - beta2) g^2;  g <- g / sqrt(nu)    scale, bias-corrected
    mu <- beta1 mu + (1 - beta1) g;    p <- p - lr mu       momentum after scaling, bias-corrected

Unlike in Adam, momentum averages gradients that are already scaled, so that one huge gradient
cannot dominate it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from robodreamer.config import OptimizerConfig


class LaProp:
    """LaProp with adaptive gradient clipping over a fixed list of parameters.

    The actor's parameters stand still for the first `actor_start` updates, while their averages
    are already kept.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        config: OptimizerConfig,
        actor: Iterable[nn.Parameter] = (),
    ) -> None:
        self.config = config
        self.parameters: list[Tensor] = [p for p in parameters if p.requires_grad]
        of_actor = {id(p) for p in actor}
        self.starts = [config.actor_start if id(p) in of_actor else 0 for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.momenta = [torch.zeros_like(p) for p in self.parameters]
        self.num_steps = 0

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> Tensor:
        """Apply the gradients; return their norm before clipping.

        The first update of a warm-up has learning rate 0, as in the reference, and moves only the
        averages.
        """
        config, parameters = self.config, self.parameters
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        norms = torch.stack(torch._foreach_norm(grads))
        grads = self._clip(grads, norms)
        learning_rates = [self._learning_rate(start) for start in self.starts]
        self.num_steps += 1
        torch._foreach_mul_(self.squares, config.beta2)
        torch._foreach_addcmul_(self.squares, grads, grads, 1 - config.beta2)
        roots = torch._foreach_div(self.squares, 1 - config.beta2**self.num_steps)
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, config.epsilon)  # 1e-20: against a division by zero alone
        torch._foreach_div_(grads, roots)
        torch._foreach_lerp_(self.momenta, grads, 1 - config.beta1)
        correction = 1 - config.beta1**self.num_steps
        steps = torch._foreach_mul(self.momenta, [rate / correction for rate in learning_rates])
        torch._foreach_sub_(parameters, steps)
        return norms.square().sum().sqrt()

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update, for all parameters but a waiting actor's."""
        return self._learning_rate(start=0)

    def state_dict(self) -> dict[str, Tensor]:
        """Return both averages and the number of steps, by position of the parameter."""
        tensors = {f"squares.{i}": value for i, value in enumerate(self.squares)}
        tensors |= {f"momenta.{i}": value for i, value in enumerate(self.momenta)}
        return tensors | {"num_steps": torch.tensor(self.num_steps)}

    @torch.no_grad()
    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        for i, (square, momentum) in enumerate(zip(self.squares, self.momenta, strict=True)):
            square.copy_(tensors[f"squares.{i}"])
            momentum.copy_(tensors[f"momenta.{i}"])
        self.num_steps = int(tensors["num_steps"])

    def _learning_rate(self, start: int) -> float:
        past, warmup = self.num_steps - start, self.config.warmup
        if past < 0:
            return 0.0
        ramp = min(1.0, past / warmup) if warmup else 1.0
        return self.config.learning_rate * ramp

    def _clip(self, grads: list[Tensor], norms: Tensor) -> list[Tensor]:
        parameter_norms = torch.stack(torch._foreach_norm(self.parameters))
        # The floor lets parameters that start at zero move at all.
        limits = self.config.clip * parameter_norms.clamp(min=self.config.clip_floor)
        factors = 1.0 / (norms / limits).clamp(min=1.0)
        return list(torch._foreach_mul(grads, list(factors.unbind())))
