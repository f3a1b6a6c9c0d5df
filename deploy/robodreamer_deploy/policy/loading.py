"""Policy folder to controller, in one call."""

from os import PathLike
from pathlib import Path

from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden


def load(
    folder: str | PathLike[str], *, draw: ActionSelection | None = None, seed: int = 0
) -> Controller:
    """Load an exported policy, test that this machine computes what it should, and return it.

        policy = load("policies/fetch_reach")
        step = policy.step(observation, is_first=True)    # step.action (A,), step.surprise in nats

    Needs numpy and onnxruntime alone.

    Args:
        folder: Policy folder.
        draw: `mode` takes the most likely latents and action, `sample` draws both; the better one
            when the policy was exported by default.
        seed: Seed of the draws.

    Raises:
        BundleError: The folder holds no policy, one that is damaged, or one that computes something
            else on this machine; a `ValueError`.
    """
    policy = Policy(load_bundle(Path(folder)))
    replay_golden(policy, load_golden(policy.bundle))
    return Controller(policy, draw=draw, seed=seed)
