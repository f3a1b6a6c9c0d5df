"""Figures of a drive, for a JSON file and as a table of 80 columns."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from robodreamer_deploy.control.episodes import Episode
from robodreamer_deploy.control.loop_stats import LoopStats, Series
from robodreamer_deploy.control.realtime import Privilege
from robodreamer_deploy.utils.table import format_row

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""

QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
TITLE_COLUMN = 18


def wilson_interval(successes: int, trials: int, z: float = Z95) -> tuple[float, float]:
    """Return the confidence interval of a success rate.

    Wilson's score interval (1927): unlike the normal approximation it stays within [0, 1] and
    means something after few trials, or when all of them succeeded.
    """
    assert 0 <= successes <= trials, (successes, trials)
    assert trials > 0, trials
    rate, z2 = successes / trials, z * z
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def summarize_episodes(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return count, return and success of completed episodes, as JSON values."""
    returns = [episode.episode_return for episode in episodes]
    known = [episode.success for episode in episodes if episode.success is not None]
    return {
        "num_episodes": len(episodes),
        "return_mean": float(np.mean(returns)) if returns else None,
        "return_std": float(np.std(returns, ddof=1)) if len(returns) > 1 else None,
        "success_rate": sum(known) / len(known) if known else None,
        "success_interval_95": list(wilson_interval(sum(known), len(known))) if known else None,
        "episodes": [episode._asdict() for episode in episodes],
    }


def summarize_loop(
    report: LoopStats, control_dt_s: float, surprise_quantiles: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Return the timing and the faults of a drive, as JSON values; it may still be going on.

    Args:
        report: What was gathered.
        control_dt_s: Seconds from one tick to the next.
        surprise_quantiles: Surprise in nats in the policy's evaluation, by quantile such as
            "0.999"; None or empty if nobody knows.
    """
    return {
        "ticks": report.ticks,
        "elapsed_s": report.elapsed_s,
        "rate_hz": report.ticks / report.elapsed_s if report.elapsed_s > 0 else None,
        "contract_rate_hz": 1.0 / control_dt_s,
        "skipped_ticks": report.skipped_ticks,
        "held_ticks": report.held_ticks,
        "prior_steps": report.prior_steps,
        "partial_steps": report.partial_steps,
        "model_resets": report.model_resets,
        "sense_to_act_ms": _quantiles(report.sense_to_act_s, 1e3),
        "policy_ms": _quantiles(report.policy_s, 1e3),
        "lateness_ms": _quantiles(report.lateness_s, 1e3),
        "surprise_nats": _quantiles(report.surprise),
        "surprise_beyond": _beyond(report.surprise, surprise_quantiles or {}),
        "limits": dict(report.limits),
        "bad_observations": dict(report.bad_observations),
        "missing_frames": dict(report.missing_frames),
    }


def format_episodes(figures: dict[str, Any]) -> list[str]:
    """Return table lines for `summarize_episodes`; none if no episode was completed."""
    if not figures["num_episodes"]:
        return []
    spread = "" if figures["return_std"] is None else f" +- {figures['return_std']:.2f}"
    lines = [
        *_lines("episodes", f"{figures['num_episodes']}"),
        *_lines("return", f"{figures['return_mean']:.2f}{spread} (mean, deviation)"),
    ]
    if figures["success_rate"] is not None:
        low, high = figures["success_interval_95"]
        rate = f"{figures['success_rate']:.3f}, 95 % within {low:.3f} .. {high:.3f}"
        lines.extend(_lines("success", rate))
    return lines


def format_loop(figures: dict[str, Any], *, is_paced: bool) -> list[str]:
    """Return table lines for `summarize_loop`."""
    contract_rate = f"{figures['contract_rate_hz']:.1f} Hz"
    if not is_paced:
        rate = f"as fast as possible; the contract's is {contract_rate}"
    elif figures["rate_hz"] is None:
        rate = f"none; the contract's is {contract_rate}"
    else:
        rate = f"{figures['rate_hz']:.1f} Hz of {contract_rate}"
    lines = [
        *_lines("ticks", f"{figures['ticks']}, skipped {figures['skipped_ticks']}, "
                       f"held {figures['held_ticks']}"),
        *_lines("model", f"prior steps {figures['prior_steps']}, without a camera "
                       f"{figures['partial_steps']}, resets {figures['model_resets']}"),
        *_lines("rate", rate),
        *_lines("sense to act", _format_quantiles(figures["sense_to_act_ms"], "ms")),
        *_lines("  policy", _format_quantiles(figures["policy_ms"], "ms")),
    ]  # fmt: skip
    if is_paced:
        lines.extend(_lines("lateness", _format_quantiles(figures["lateness_ms"], "ms")))
    lines.extend(_lines("surprise", _format_surprise(figures)))
    counted = {
        "limits": "limits", "refused": "bad_observations", "frames lost": "missing_frames"
    }  # fmt: skip
    for title, key in counted.items():
        counts = ", ".join(f"{name} {count}" for name, count in figures[key].items())
        lines.extend(_lines(title, counts or "none"))
    return lines


def format_privileges(privileges: Sequence[Privilege]) -> list[str]:
    """Return table lines that tell which real-time privileges were granted."""
    lines: list[str] = []
    for privilege in privileges:
        answer = "granted" if privilege.is_granted else "refused"
        lines.extend(_lines(privilege.name, f"{answer}: {privilege.detail}"))
    return ["real time", *lines]


def quantiles(values: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """Return the quantiles of `QUANTILES` by name, each times `scale`."""
    found = np.quantile(np.asarray(values[:]), list(QUANTILES.values())) * scale
    return dict(zip(QUANTILES, found.tolist(), strict=True))


def _quantiles(series: Series, scale: float = 1.0) -> dict[str, float] | None:
    """Return quantiles of the values that are kept; the largest one is that of the whole drive."""
    return {**quantiles(series, scale), "max": series.largest * scale} if series else None


def _beyond(surprise: Series, quantiles: Mapping[str, float]) -> dict[str, float] | None:
    """Return which share of the steps surprised more than nearly all did in the evaluation."""
    if not surprise or not quantiles:
        return None
    highest = max(quantiles, key=float)
    limit = quantiles[highest]
    share = float(np.mean(np.asarray(surprise[:]) > limit))
    return {"quantile": float(highest), "limit_nats": limit, "share": share}


def _format_surprise(figures: dict[str, Any]) -> str:
    text = _format_quantiles(figures["surprise_nats"], "nats")
    beyond = figures["surprise_beyond"]
    if beyond is None:
        return text
    expected = 1.0 - beyond["quantile"]
    return (
        f"{text}; {beyond['share']:.1%} of the steps above {beyond['limit_nats']:.2f}, "
        f"{expected:.1%} in the evaluation"
    )


def _format_quantiles(quantiles: dict[str, float] | None, unit: str) -> str:
    if quantiles is None:
        return "not measured"
    return ", ".join(f"{name} {value:.2f}" for name, value in quantiles.items()) + f" {unit}"


def _lines(title: str, value: str) -> list[str]:
    return format_row((f"  {title}", value), (TITLE_COLUMN,)).splitlines()
