"""Optimizers: LaProp with adaptive gradient clipping, and Adam with clipping by the global norm.

LaProp, per tensor, in this order (DreamerV3, appendix B; AGC: Brock et al., 2021; LaProp: Ziyin et
al., 2020):

    g  <- g / max(1, |g| / (clip * max(floor, |p|)))        clip relative to the parameter
    nu <- beta2 nu + (1 - beta2) g^2;  g <- g / sqrt(nu)    scale, bias-corrected
    mu <- beta1 mu + (1 - beta1) g;    p <- p - lr mu       momentum after scaling, bias-corrected

Unlike in Adam, momentum averages gradients that are already scaled, so that one huge gradient
cannot dominate it.

Adam, over a group of tensors (Kingma and Ba, 2015, end of section 2, as DreamerV1 and V2 ran it):

    g  <- g min(1, clip / |g|);  p <- (1 - decay) p                    norm over the whole group
    m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
    p  <- p - lr sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + eps)

There `eps` joins the root before its bias is corrected: in the first steps it weighs about thirty
times as much as torch.optim.Adam's.
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
        forget_gradients(self.parameters)

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
        return averages_to_dict(self)

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        averages_from_dict(self, tensors)

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


class Adam:
    """Adam with clipping by the global norm, over a fixed list of parameters.

    Args:
        parameters: Group of parameters that are clipped together.
        config: Settings; warm-up and decays as LaProp's.
        learning_rate: Learning rate of the group after the warm-up.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], config: OptimizerConfig, learning_rate: float
    ) -> None:
        self.config = config
        self.parameters: list[Tensor] = [p for p in parameters if p.requires_grad]
        self.base_rate = learning_rate
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.momenta = [torch.zeros_like(p) for p in self.parameters]
        self.num_steps = 0

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        forget_gradients(self.parameters)

    @torch.no_grad()
    def step(self) -> Tensor:
        """Apply the gradients; return their norm before clipping."""
        config, parameters = self.config, self.parameters
        grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        norm = torch.stack(torch._foreach_norm(grads)).square().sum().sqrt()
        grads = list(torch._foreach_mul(grads, config.global_clip / norm.clamp(config.global_clip)))
        rate = self.learning_rate
        self.num_steps += 1
        if config.weight_decay:
            torch._foreach_mul_(parameters, 1 - config.weight_decay)
        torch._foreach_lerp_(self.momenta, grads, 1 - config.beta1)
        torch._foreach_mul_(self.squares, config.beta2)
        torch._foreach_addcmul_(self.squares, grads, grads, 1 - config.beta2)
        roots = torch._foreach_sqrt(self.squares)
        torch._foreach_add_(roots, config.epsilon)
        correction = (1 - config.beta2**self.num_steps) ** 0.5 / (1 - config.beta1**self.num_steps)
        torch._foreach_addcdiv_(parameters, self.momenta, roots, -rate * correction)
        return norm

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next update."""
        warmup = self.config.warmup
        return self.base_rate * (min(1.0, self.num_steps / warmup) if warmup else 1.0)

    def state_dict(self) -> dict[str, Tensor]:
        """Return both averages and the number of steps, by position of the parameter."""
        return averages_to_dict(self)

    def load_state_dict(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        averages_from_dict(self, tensors)


def forget_gradients(parameters: Iterable[Tensor]) -> None:
    """Let parameters have no gradient."""
    for parameter in parameters:
        parameter.grad = None


def averages_to_dict(optimizer: LaProp | Adam) -> dict[str, Tensor]:
    """Return the state of an optimizer, by position of the parameter."""
    tensors = {f"squares.{i}": value for i, value in enumerate(optimizer.squares)}
    tensors |= {f"momenta.{i}": value for i, value in enumerate(optimizer.momenta)}
    return tensors | {"num_steps": torch.tensor(optimizer.num_steps)}


@torch.no_grad()
def averages_from_dict(optimizer: LaProp | Adam, tensors: dict[str, Tensor]) -> None:
    """Restore what `averages_to_dict` returned."""
    for i in range(len(optimizer.parameters)):
        optimizer.squares[i].copy_(tensors[f"squares.{i}"])
        optimizer.momenta[i].copy_(tensors[f"momenta.{i}"])
    optimizer.num_steps = int(tensors["num_steps"])
