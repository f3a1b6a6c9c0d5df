"""Sheets of an autoencoder: what it keeps of pictures, and what it draws of its own.

Blue frames are pictures of the camera, orange ones were drawn by the decoder.

Shapes: N pictures, H height, W width, C channels, Z latent.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from robodreamer.models.vae import VAE, Gaussian, interpolate
from robodreamer.visualization.plots import COLORS
from robodreamer.visualization.video import (
    BLUE,
    DPI,
    ORANGE,
    Pictures,
    rasterize,
    to_rgb,
    write_png,
)
from robodreamer.visualization.video_layout import Row, sheet

COLUMNS = 9
SAMPLE_ROWS, PAIRS, DIMENSIONS = 3, 4, 6
REACH = 2.5
"""Largest value of a traversed latent number, in standard deviations of the prior."""
NUM_COLORS = 256

Lines = Sequence[Mapping[str, float]]


@torch.no_grad()
def write_sheets(
    folder: Path, model: VAE, pictures: UInt8[Tensor, "N H W C"], lines: Lines, seed: int
) -> list[Path]:
    """Write all sheets; return their files.

    Args:
        folder: Folder for the files.
        model: Trained autoencoder.
        pictures: Pictures that it was not trained with.
        lines: Figures over time.
        seed: Seed of the pictures that are chosen, and of the samples.
    """
    posterior = Gaussian(*map(torch.cat, zip(*map(model.encode, pictures.split(100)), strict=True)))
    random = np.random.default_rng(seed)
    drawn = {
        "reconstructions": reconstruction_sheet(model, pictures),
        "samples": sample_sheet(model, posterior.mean.shape[-1], seed),
        "interpolations": interpolation_sheet(model, pictures, posterior, random),
        "traversals": traversal_sheet(model, posterior),
        "curves": plot_curves(lines),
    }
    written = []
    for name, picture in drawn.items():
        written.append(folder / f"{name}.png")
        write_png(written[-1], picture, NUM_COLORS)
    return written


def reconstruction_sheet(model: VAE, pictures: UInt8[Tensor, "N H W C"]) -> Pictures:
    """Lay out evenly chosen pictures above their reconstructions from the means."""
    count = min(COLUMNS, len(pictures))
    chosen = pictures[torch.linspace(0, len(pictures) - 1, count).long()]
    rows = [
        Row("camera", to_rgb(chosen.cpu().numpy())),
        Row("model", _to_bytes(model.reconstruct(chosen))),
    ]
    title = "Pictures it was not trained with, and what it makes of their latent numbers"
    return sheet(title, rows, [""] * count, [BLUE] * count)


def sample_sheet(model: VAE, latent: int, seed: int) -> Pictures:
    """Lay out pictures of random latent numbers."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(SAMPLE_ROWS, COLUMNS, latent, generator=generator)
    rows = [Row("", _to_bytes(model.decode(z.to(_device(model))))) for z in noise]
    title = f"Pictures of nothing but noise: {latent} numbers from N(0, 1) each"
    return sheet(title, rows, [""] * COLUMNS, [ORANGE] * COLUMNS)


def interpolation_sheet(
    model: VAE, pictures: UInt8[Tensor, "N H W C"], posterior: Gaussian, random: np.random.Generator
) -> Pictures:
    """Lay out straight ways between the means of two pictures, those at both ends."""
    rows = []
    for first, last in _pairs(posterior, random):
        between = interpolate(posterior.mean[first], posterior.mean[last], COLUMNS - 2)
        ends = to_rgb(pictures[[first, last]].cpu().numpy())
        way = _to_bytes(model.decode(between))
        rows.append(Row("", np.concatenate([ends[:1], way, ends[1:]])))
    labels = ["camera", *(f"{w:.0%}" for w in np.linspace(0, 1, COLUMNS - 2)), "camera"]
    colors = [BLUE, *[ORANGE] * (COLUMNS - 2), BLUE]
    return sheet("From one picture to another through the latent space", rows, labels, colors)


def traversal_sheet(model: VAE, posterior: Gaussian) -> Pictures:
    """Lay out the picture that tells most with single latent numbers changed.

    The numbers that tell most come first.
    """
    kl = posterior.kl_per_dimension.mean(0)
    dimensions = kl.argsort(descending=True)[:DIMENSIONS].tolist()
    base = posterior.kl_per_dimension.sum(-1).argmax()
    values = torch.linspace(-REACH, REACH, COLUMNS)
    rows = []
    for dimension in dimensions:
        z = posterior.mean[base].repeat(COLUMNS, 1)
        z[:, dimension] = values.to(z.device)
        rows.append(Row(f"{dimension}: {kl[dimension]:.1f} nats", _to_bytes(model.decode(z))))
    labels = [f"{value:+.1f}" for value in values.tolist()]
    title = "Single latent numbers changed; in nats: what each tells about a picture"
    return sheet(title, rows, labels, [ORANGE] * COLUMNS)


def plot_curves(lines: Lines) -> Pictures:
    """Draw both terms, PSNR and the number of used dimensions over updates."""
    from matplotlib.figure import Figure

    chart = Figure((9.0, 2.8), dpi=DPI, layout="constrained")
    panels = chart.subplots(1, 3)
    updates = [line["update"] for line in lines]
    for name, color in (("reconstruction", COLORS[0]), ("kl", COLORS[1])):
        panels[0].plot(updates, [line[name] for line in lines], color=color, label=name)
        training = [line[f"training_{name}"] for line in lines]
        panels[0].plot(updates, training, color=color, alpha=0.45, linestyle="dotted")
    panels[0].set_yscale("log")
    panels[0].legend(["reconstruction", "(training)", "KL, nats", "(training)"], fontsize=7)
    for panel, name in zip(panels[1:], ("psnr", "active"), strict=True):
        panel.plot(updates, [line[name] for line in lines], color=COLORS[2])
    titles = ("both terms per picture", "PSNR, dB", "used latent numbers")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, size=9)
        panel.set_xlabel("updates", size=8)
        panel.tick_params(labelsize=7)
        panel.grid(color="0.92", linewidth=0.8)
        panel.spines[["top", "right"]].set_visible(False)
    return rasterize(chart)


def _pairs(posterior: Gaussian, random: np.random.Generator) -> list[tuple[int, int]]:
    """Choose pairs among the half of the pictures that tells most, so not of empty ones."""
    information = posterior.kl_per_dimension.sum(-1)
    telling = information.argsort(descending=True)[: max(2, math.ceil(len(information) / 2))]
    count = min(PAIRS, len(telling) // 2)
    chosen = random.choice(telling.cpu().numpy(), (count, 2), replace=False)
    return [(int(first), int(last)) for first, last in chosen]


def _to_bytes(drawn: Float[Tensor, "N H W C"]) -> Pictures:
    pictures = (drawn.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return to_rgb(pictures)


def _device(model: VAE) -> torch.device:
    return model.mean.weight.device
