"""Does surprise tell that something is wrong? AUROC of nominal steps against steps with a fault.

    python benchmarks/onboard_surprise.py policies/fetch_reach policies/fetch_reach_visual

A policy drives its task through the onboard loop and onnxruntime: first as it was trained, then
with one fault at a time, which lasts for the whole episode.

    frozen camera      every camera shows its first frame for ever
    shifted camera     every camera stands 5 cm off and looks 5 degrees off
    added payload      see --payload
    joint friction x3  dry and viscous, of every joint
    sensor offset      the first measurement is off by 5 % of its working range

`step` is the area under the ROC curve for telling a single step (0.5 is guessing; below it the
fault surprises less than no fault does), `episode` the same for the mean of an episode. The first
step of an episode, before which there is nothing to expect, is left out.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from _auroc import auroc
from _faults import Payload, find_payload, make_faults
from _onboard import POLICY, Drive, drive, load_policy, mean_and_half, seeds
from _timing import describe_commit, make_parser, print_table, write_json

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.policy.policy import Policy
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import Randomization
from robodreamer_sim.robots.in_process import make_robot

HEADER = ["fault", "step", "episode", "median nats", "return"]


def drive_with(policy: Policy, fault: Randomization | None, episodes: int) -> Drive:
    """Drive the task as the policy was trained, or with a fault besides."""
    contract = policy.bundle.contract
    if fault is not None:
        contract = with_fault(contract, fault)
    return drive(policy, make_robot(contract.task, contract), seeds(episodes))


def with_fault(contract: Contract, fault: Randomization) -> Contract:
    """Return the contract of the same task with a fault, besides what training randomised."""
    options = EnvOptions.from_dict(contract.options)
    usual = options.randomize if isinstance(options.randomize, Randomization) else Randomization()
    both = usual.with_entries(fault.entries)
    return dataclasses.replace(
        contract, options=dataclasses.replace(options, randomize=both).to_dict()
    )


def steps_of(found: Drive) -> Array:
    """Return the surprise of every step but the first one of each episode."""
    return np.concatenate([surprise[1:] for surprise in found.surprises])


def means_of(found: Drive) -> Array:
    """Return every episode's mean surprise, without its first step."""
    return np.array([surprise[1:].mean() for surprise in found.surprises])


def compare(policy: Policy, payload: Payload, episodes: int) -> list[dict[str, Any]]:
    """Return a row for nominal episodes, and one per fault."""
    nominal = drive_with(policy, None, episodes)
    rows = [_row("none", nominal, nominal)]
    for name, fault in make_faults(policy.bundle.contract, payload).items():
        rows.append(_row(name, nominal, drive_with(policy, fault, episodes)))
    return rows


def _row(name: str, nominal: Drive, found: Drive) -> dict[str, Any]:
    return {
        "fault": name,
        "step": auroc(steps_of(nominal), steps_of(found)),
        "episode": auroc(means_of(nominal), means_of(found)),
        "median": float(np.median(steps_of(found))),
        "return": mean_and_half(found.returns),
    }


def _cells(row: dict[str, Any]) -> list[str]:
    mean, half = row["return"]
    areas = [f"{row[key]:.3f}" for key in ("step", "episode")]
    return [row["fault"], *areas, f"{row['median']:.3f}", f"{mean:.2f} [{half:.2f}]"]


def _payload(text: str) -> Payload:
    body, _, mass = text.rpartition("=")
    return Payload(body, float(mass))


def main() -> None:
    """Measure every policy."""
    parser = make_parser(__doc__)
    parser.add_argument("policies", nargs="*", type=Path, default=[POLICY], help="policy folders")
    parser.add_argument("--episodes", type=int, default=20, help="nominal, and with each fault")
    parser.add_argument(
        "--payload", type=_payload, metavar="BODY=KG", help="known for fetch_* and arm_*"
    )
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for folder in options.policies:
        policy = load_policy(folder)
        task = policy.bundle.contract.task
        payload = options.payload or find_payload(task)
        print(f"{folder}: {task}, {options.episodes} episodes each; payload {payload.mass_kg} kg")
        figures[str(folder)] = rows = compare(policy, payload, options.episodes)
        print_table(HEADER, [_cells(row) for row in rows])
    write_json(
        options.json, {"commit": describe_commit(Path(__file__).parent), "surprise": figures}
    )


if __name__ == "__main__":
    main()
