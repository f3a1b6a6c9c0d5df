"""Training of a variational autoencoder: epochs over shuffled pictures, and figures on others.

Shapes: N pictures, H height, W width, C channels.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import UInt8
from torch import Tensor

from robodreamer.config.vae import VaeConfig
from robodreamer.models.sampling import RandomSampler
from robodreamer.models.vae import VAE, num_active, psnr, squared_error
from robodreamer.runs.metrics import Means

EVALUATIONS = 50
"""Times that figures of held-out pictures are taken, evenly over the updates."""
BATCH = 100
"""Pictures that are evaluated at once."""

Figures = Mapping[str, float]
COLUMNS = ("training_reconstruction", "training_kl", "reconstruction", "kl", "psnr", "active")


class Data(NamedTuple):
    """Pictures for training and for figures, both (N, H, W, C), on the device."""

    training: UInt8[Tensor, "N H W C"]
    held_out: UInt8[Tensor, "n H W C"]


class Moment(NamedTuple):
    """State of a training, for whoever reports it."""

    update: int
    minutes: float
    figures: Figures
    is_evaluated: bool
    """True if the figures of held-out pictures are among them."""


def make_vae(config: VaeConfig, shape: tuple[int, int, int]) -> VAE:
    """Build an untrained autoencoder; its weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return VAE(shape, config.network, config.latent)


def fit(
    model: VAE, config: VaeConfig, data: Data, is_stopped: Callable[[], bool]
) -> Iterator[Moment]:
    """Train until updates or minutes are used up; yield after every update.

    With the same settings, pictures and threads the weights are the same after as many updates.
    """
    device = data.training.device
    generator = torch.Generator(device).manual_seed(config.seed)
    sampler = RandomSampler(generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    free_nats = config.free_nats * config.latent
    period = max(1, config.updates // EVALUATIONS)
    batches = shuffled(data.training, config.batch_size, generator)
    means, began = Means(), time.monotonic()
    for update in range(1, config.updates + 1):
        terms = _update(model, optimizer, sampler, next(batches), free_nats)
        means.add(terms)
        minutes = (time.monotonic() - began) / 60
        is_last = (
            is_stopped() or update == config.updates or minutes >= (config.minutes or math.inf)
        )
        if is_last or update % period == 0:
            held_out = evaluate(model, data.held_out, config.seed)
            yield Moment(update, minutes, {**means.pop(), **held_out}, is_evaluated=True)
        else:
            figures = {name: float(value) for name, value in terms.items()}
            yield Moment(update, minutes, figures, is_evaluated=False)
        if is_last:
            return


def _update(
    model: VAE,
    optimizer: torch.optim.Optimizer,
    sampler: RandomSampler,
    pictures: UInt8[Tensor, "N H W C"],
    free_nats: float,
) -> dict[str, Tensor]:
    """Take one step; return both terms, averaged over the batch."""
    terms = model.negative_elbo(pictures, sampler)
    optimizer.zero_grad(set_to_none=True)
    terms.loss(free_nats).backward()
    optimizer.step()
    return {f"training_{name}": term.detach().mean() for name, term in terms._asdict().items()}


def shuffled(
    pictures: UInt8[Tensor, "N H W C"], batch_size: int, generator: torch.Generator
) -> Iterator[UInt8[Tensor, "n H W C"]]:
    """Yield batches of one epoch after the other, each in another order; the rest is left out."""
    count = len(pictures)
    size = min(batch_size, count)
    while True:
        order = torch.randperm(count, generator=generator, device=pictures.device)
        for start in range(0, count - size + 1, size):
            yield pictures[order[start : start + size]]


@torch.no_grad()
def evaluate(model: VAE, pictures: UInt8[Tensor, "N H W C"], seed: int) -> dict[str, float]:
    """Return both terms, PSNR of reconstructions from the means, and used dimensions.

    The same draws are made at every call.
    """
    generator = torch.Generator(pictures.device).manual_seed(seed)
    sampler = RandomSampler(generator)
    sums = {"reconstruction": 0.0, "kl": 0.0, "psnr": 0.0}
    posteriors = []
    for batch in pictures.split(BATCH):
        terms, posterior = model.negative_elbo(batch, sampler), model.encode(batch)
        error = squared_error(model.decode(posterior.mean), batch)
        values = {**terms._asdict(), "psnr": psnr(error, batch[0].numel())}
        sums = {name: total + float(values[name].sum()) for name, total in sums.items()}
        posteriors.append(posterior.mean)
    means = torch.cat(posteriors)
    return {name: total / len(pictures) for name, total in sums.items()} | {
        "active": float(num_active(means))
    }
