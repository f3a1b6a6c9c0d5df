"""Evaluation: episodes on fixed seeds, and the statistics of their returns and successes.

The same function evaluates a torch agent and an exported ONNX policy: both are a `VectorPolicy`.

Shapes: N environments.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodreamer.evaluation.policies import VectorPolicy
from robodreamer_deploy.contract import Contract
from robodreamer_deploy.drive_summary import Z95, wilson_interval
from robodreamer_sim.compat import import_mujoco
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import resolve
from robodreamer_sim.vector.vector_env import TIMEOUT_S, VectorEnv

EVALUATION_SEED = 1_000_003  # far from any training seed
MAX_ENVS = 5
"""Most environments at once. Part of the protocol: another number means other episodes."""
Array = NDArray[Any]


class Evaluation(NamedTuple):
    """Figures of finished episodes, in the order of environment and episode."""

    returns: Array
    successes: Array | None
    """None if the task does not know success."""
    lengths: Array
    largest_rewards: Array
    """Largest magnitude of a reward in each episode."""

    def summary(self) -> dict[str, float]:
        """Return means and their 95 % intervals: normal for the return, Wilson's for success.

        Success is left out where the task does not report it.
        """
        count = len(self.returns)
        spread = Z95 * float(self.returns.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
        success: dict[str, float] = {}
        if self.successes is not None:
            low, high = wilson_interval(int(self.successes.sum()), count)
            rate = float(self.successes.mean())
            success = {"success": rate, "success_low": low, "success_high": high}
        return {
            "episodes": float(count),
            "return": float(self.returns.mean()),
            "return_low": float(self.returns.mean()) - spread,
            "return_high": float(self.returns.mean()) + spread,
            **success,
            "length": float(self.lengths.mean()),
        }


def evaluate(policy: VectorPolicy, envs: VectorEnv, episodes: int) -> Evaluation:
    """Run `episodes` episodes, the same number in every environment, from its first one on.

    Every environment finishes its share: stopping at the total would favour short episodes.
    An episode succeeds if its last step does.

    Raises:
        ValueError: `episodes` is not a multiple of the number of environments.
    """
    if episodes % envs.num_envs:
        raise ValueError(f"{episodes} episodes cannot be shared by {envs.num_envs} environments")
    share = episodes // envs.num_envs
    finished: list[list[tuple[float, bool, int, float]]] = [[] for _ in range(envs.num_envs)]
    returns, lengths = np.zeros(envs.num_envs), np.zeros(envs.num_envs, np.int64)
    largest = np.zeros(envs.num_envs)
    envs.start()
    while True:
        record = envs.recv()
        returns = np.where(record["is_first"], 0.0, returns + record["reward"])
        lengths = np.where(record["is_first"], 0, lengths + 1)
        largest = np.where(record["is_first"], 0.0, np.maximum(largest, np.abs(record["reward"])))
        for i in np.flatnonzero(record["is_last"]):
            if len(finished[i]) < share:  # a fast environment's further episodes do not count
                success = bool(record["success"][i])
                finished[i].append((returns[i], success, int(lengths[i]), largest[i]))
        if all(len(done) == share for done in finished):
            break
        envs.send(policy.act(record, record["is_first"]))
    rows = [row for done in finished for row in done]
    returned, successes, lengths, largest = (np.array(c) for c in zip(*rows, strict=True))
    known_successes = successes if envs.contract.knows_success else None
    return Evaluation(returned, known_successes, lengths, largest)


def make_evaluation_envs(
    contract: Contract,
    episodes: int,
    num_workers: int = 1,
    randomize: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> VectorEnv:
    """Start the environments of the fixed episodes, with the options of the contract's task.

    There are at most five, and a divisor of `episodes`, so that the same number always means the
    same episodes. They are randomised as in training unless `randomize` is given.

    Raises:
        ValueError: There is no such task, or it differs from the contract.
    """
    options = EnvOptions.from_dict(contract.options)
    if randomize is not None:
        import_mujoco()
        from robodreamer_sim.randomization.sensors import delays_s

        randomization = resolve(randomize, contract.task)
        options = dataclasses.replace(options, randomize=randomization or "none")
        contract = dataclasses.replace(
            contract,
            options=options.to_dict(),
            delays_s=delays_s(contract, randomization),
        )
    num_envs = next(n for n in range(MAX_ENVS, 0, -1) if episodes % n == 0)
    envs = VectorEnv(
        contract.task,
        options,
        num_envs=num_envs,
        num_workers=num_workers,
        seed=EVALUATION_SEED,
        timeout_s=timeout_s,
    )
    try:
        require_unchanged(contract, envs.contract)
    except ValueError:
        envs.close()
        raise
    return envs


def require_unchanged(trained: Contract, now: Contract) -> None:
    """Refuse a task that has changed since a policy was trained on it.

    A change of `knows_success` is allowed: a policy does not see it.

    Raises:
        ValueError: The contracts differ; names every difference.
    """
    known = dataclasses.replace(trained, knows_success=now.knows_success)
    if found := now.differences(known):
        raise ValueError(
            f"{trained.task} has changed since the policy was trained: {'; '.join(found)}"
        )
