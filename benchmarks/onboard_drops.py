"""What lost camera frames cost: a policy in closed loop, through the onboard loop and onnxruntime.

    python benchmarks/onboard_drops.py policies/fetch_reach policies/fetch_reach_visual
    python benchmarks/onboard_drops.py policies/fetch_reach --gap 5 --shares 0.3

A share of the frames is lost, each independently, or in gaps of a mean length. What stands in for
a lost frame:

    nothing  the signal is left out, and the model dreams through the gap by its prior; a policy
             trained with --algorithm.camera-dropout is told so and reads its other signals
    frozen   the last frame once more, as most camera drivers have it
    black    zeros

Episodes and losses are the same for all. Brackets hold half of a 95 % interval; `to nothing` is the
mean difference of the same episodes' returns to that stand-in, and significant where it exceeds its
bracket. `prior` counts the steps in which the model dreamt, `partial` those in which it had nothing
but its other signals, `held` the ticks in which the robot held: a camera was gone for too long.
"""

import argparse
from pathlib import Path
from typing import Any

from _lossy import STAND_INS, StandIn, make_lossy_robot
from _onboard import POLICY, Drive, drive, load_policy, mean_and_half, seeds
from _timing import describe_commit, make_parser, print_table, write_json

from robodreamer_deploy.policy.policy import Policy

HEADER = ["lost", "stand-in", "return", "to nothing", "success", "prior", "partial", "held"]


def measure(
    policy: Policy, share: float, gap: float | None, stand_in: StandIn, episodes: int
) -> tuple[Drive, float]:
    """Drive; return what came of it, and the share of the frames that really was lost."""
    robot = make_lossy_robot(policy.bundle.contract, share, gap, stand_in)
    found = drive(policy, robot, seeds(episodes))
    return found, robot.num_lost / robot.num_frames


def compare(policy: Policy, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row per share and stand-in."""
    rows: list[dict[str, Any]] = []
    for share in (0.0, *options.shares):
        reference: Drive | None = None
        for stand_in in STAND_INS if share else STAND_INS[:1]:
            found, lost = measure(policy, share, options.gap, stand_in, options.episodes)
            reference = reference or found
            rows.append(
                {
                    "lost": lost,
                    "stand_in": stand_in,
                    "return": mean_and_half(found.returns),
                    "difference": mean_and_half(found.returns - reference.returns),
                    "success": found.success,
                    "steps": {
                        "prior": found.stats.prior_steps,
                        "partial": found.stats.partial_steps,
                        "held": found.stats.held_ticks,
                    },
                    "returns": found.returns.tolist(),
                }
            )
    return rows


def _cells(row: dict[str, Any]) -> list[str]:
    success = "" if row["success"] is None else f"{row['success']:.0%}"
    returned, difference = (f"{m:.2f} [{h:.2f}]" for m, h in (row["return"], row["difference"]))
    steps = [str(count) for count in row["steps"].values()]
    return [f"{row['lost']:.0%}", row["stand_in"], returned, difference, success, *steps]


def main() -> None:
    """Measure every policy."""
    parser = make_parser(__doc__)
    parser.add_argument("policies", nargs="*", type=Path, default=[POLICY], help="policy folders")
    parser.add_argument("--episodes", type=int, default=50, help="of every row")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.3], help="of frames")
    parser.add_argument("--gap", type=float, help="mean steps of a gap; independent by default")
    options = parser.parse_args()
    figures: dict[str, Any] = {}
    for folder in options.policies:
        policy = load_policy(folder)
        print(f"{folder}: {policy.bundle.contract.task}, {options.episodes} episodes")
        figures[str(folder)] = rows = compare(policy, options)
        print_table(HEADER, [_cells(row) for row in rows])
    commit = describe_commit(Path(__file__).parent)
    write_json(options.json, {"commit": commit, "gap": options.gap, "drops": figures})


if __name__ == "__main__":
    main()
