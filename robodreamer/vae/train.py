"""Job of `robodreamer vae`: collect pictures, train, and write what came of it into a folder.

vae.safetensors, vae.json   weights, settings and figures, see `runs.vae_folder`
metrics.csv                 figures over updates
*.png                       sheets, see `sheets`
"""

import csv
import functools
import io
import time
from collections.abc import Callable
from pathlib import Path

import torch

from robodreamer.config.vae import VaeConfig
from robodreamer.models.vae import VAE, psnr
from robodreamer.runs.files import locked
from robodreamer.runs.vae_folder import LoadedVae, require_new, write_vae
from robodreamer.training.progress import Progress
from robodreamer.training.schedule import Period, StopRequest
from robodreamer.vae.fit import COLUMNS, Data, Moment, fit, make_vae
from robodreamer.vae.frames import FrameSource, open_source, split
from robodreamer.vae.sheets import Lines, write_sheets
from robodreamer_deploy.utils.atomic_write import write_atomic
from robodreamer_deploy.utils.streams import Say

REPORT_S = 10.0


def prepare_vae(config: VaeConfig, out: Path, say: Say) -> Callable[[], None]:
    """Check source, sizes and folder; return the job that trains the autoencoder.

    Ctrl-C ends the training early, and writes all files; the job then raises `KeyboardInterrupt`.

    Raises:
        ValueError: No such task or folder, one without pictures, a size that the networks cannot
            read, or a folder that holds an autoencoder.
    """
    require_new(out)
    device = _choose_device(config)
    with torch.device("meta"):
        make_vae(config, (*config.size, 3))  # before a simulator starts
    source = open_source(config)
    return functools.partial(_train, config, source, out, device, say)


def _choose_device(config: VaeConfig) -> torch.device:
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ValueError("torch sees no GPU; use --device cpu, or install torch with CUDA")
    return torch.device("cuda" if has_gpu and config.device != "cpu" else "cpu")


def _train(
    config: VaeConfig, source: FrameSource, out: Path, device: torch.device, say: Say
) -> None:
    torch.set_num_threads(config.threads)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        require_new(out)
        say(f"collecting {source.text}")
        frames = source.collect(_announce(say))
        data = Data(*(torch.from_numpy(part).to(device) for part in split(frames)))
        model = make_vae(config, source.shape).to(device)
        say(_describe(config, model, data))
        with StopRequest(say) as stop:
            lines = _fit(config, model, data, lambda: stop.is_requested, Progress(config.source))
        model.eval()
        write_atomic(out / "metrics.csv", _as_csv(lines))
        for path in write_sheets(out, model, data.held_out, lines, config.seed):
            say(f"wrote {path}")
        write_vae(out, LoadedVae(model, config, source.shape), lines[-1])
        say(_conclude(config, lines))
    if stop.is_requested:
        raise KeyboardInterrupt


def _fit(
    config: VaeConfig, model: VAE, data: Data, is_stopped: Callable[[], bool], progress: Progress
) -> Lines:
    """Train with a line of progress every ten seconds; return the figures over time."""
    lines: list[dict[str, float]] = []
    report, began = Period(REPORT_S), time.monotonic()
    progress.start()
    try:
        for moment in fit(model, config, data, is_stopped):
            if moment.is_evaluated:
                minutes = round(moment.minutes, 3)
                lines.append({"update": float(moment.update), "minutes": minutes, **moment.figures})
            if report.is_due(time.monotonic() - began) or moment.update == config.updates:
                progress.show(_share_done(config, moment), _figures(moment, data))
    finally:
        progress.stop()
    return lines


def _share_done(config: VaeConfig, moment: Moment) -> float:
    by_time = moment.minutes / config.minutes if config.minutes else 0.0
    return min(1.0, max(moment.update / config.updates, by_time))


def _figures(moment: Moment, data: Data) -> dict[str, str]:
    terms = moment.figures
    decibels = psnr(torch.tensor(terms["training_reconstruction"]), data.training[0].numel())
    return {
        "updates": f"{moment.update:,}",
        "reconstruction": f"{terms['training_reconstruction']:.1f}",
        "KL": f"{terms['training_kl']:.1f} nats",
        "PSNR": f"{decibels:.1f} dB",
    }


def _announce(say: Say) -> Callable[[int, int], None]:
    """Return a receiver of counts that reports every ten seconds."""
    period, began = Period(REPORT_S), time.monotonic()

    def tell(count: int, total: int) -> None:
        if period.is_due(time.monotonic() - began):
            say(f"{count / total:4.0%} {count:,} pictures")

    return tell


def _describe(config: VaeConfig, model: VAE, data: Data) -> str:
    parameters = sum(p.numel() for p in model.parameters()) / 1e6
    height, width, _ = data.training.shape[1:]
    padded = model.decoder.plan.padded
    text = "" if padded == (height, width) else f" (padded to {padded[0]}x{padded[1]})"
    return (
        f"{len(data.training):,} pictures of {height}x{width}{text} for training, "
        f"{len(data.held_out):,} held out; {config.latent} latent numbers, "
        f"{parameters:.1f} M parameters"
    )


def _conclude(config: VaeConfig, lines: Lines) -> str:
    last = lines[-1]
    return (
        f"held out: reconstruction {last['reconstruction']:.1f}, KL {last['kl']:.1f} nats, "
        f"PSNR {last['psnr']:.1f} dB, {last['active']:.0f} of {config.latent} latent numbers used"
    )


def _as_csv(lines: Lines) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["update", "minutes", *COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: f"{value:.6g}" for name, value in line.items()} for line in lines)
    return text.getvalue().encode()
