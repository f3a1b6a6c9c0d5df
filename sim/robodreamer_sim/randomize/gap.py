"""The reality gap of one environment: a randomised model behind imperfect signals."""

import mujoco

from robodreamer_deploy.contract import Array, Contract, Observation
from robodreamer_sim.randomize.entries import Randomization
from robodreamer_sim.randomize.randomizer import Randomizer
from robodreamer_sim.randomize.signals import Signals


class RealityGap:
    """Randomises an environment, episode by episode.

    Args:
        randomization: What is randomised.
        contract: Of the environment.
        handles: Model and data of its simulation; None where MuJoCo does not simulate.

    Raises:
        ValueError: An entry that selects what this environment does not have.
    """

    def __init__(
        self,
        randomization: Randomization,
        contract: Contract,
        handles: tuple[mujoco.MjModel, mujoco.MjData] | None,
    ) -> None:
        self._control_dt_s = contract.control_dt_s
        self._signals = Signals(contract, randomization)
        self._randomizer = Randomizer(*handles, randomization) if handles else None
        if handles is None:
            for entry in randomization.entries:
                if entry.about.is_of_model:
                    entry.choose(())  # refuses what is named

    def begin(self, start_seed: int, episode_seed: int) -> None:
        """Draw for a new episode, before its first state is set up.

        What is drawn at start depends on `start_seed` alone, everything else on `episode_seed`.
        """
        self._signals.begin(start_seed, episode_seed)
        if self._randomizer is not None:
            self._randomizer.begin(start_seed, episode_seed)

    def act(self, action: Array) -> Array:
        """Let a control step begin; return the action (A,) that arrives at the actuators."""
        self._signals.advance(self._control_dt_s)
        if self._randomizer is not None:
            self._randomizer.advance(self._control_dt_s)
        return self._signals.act(action)

    def observe(self, observation: Observation) -> dict[str, Array]:
        """Return what the policy gets to see of an observation."""
        return self._signals.observe(observation)
