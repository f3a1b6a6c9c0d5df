"""Domain randomizer of one environment: a randomised model and imperfect signals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mujoco

from robodreamer_deploy.contract import Array, Contract, Observation
from robodreamer_sim.mujoco_hooks import models_edited
from robodreamer_sim.randomization.delay import history_edits
from robodreamer_sim.randomization.model_randomizer import ModelRandomizer
from robodreamer_sim.randomization.sensors import SignalRandomizer
from robodreamer_sim.randomization.spec import Randomization

Handles = tuple[mujoco.MjModel, mujoco.MjData]


class DomainRandomizer:
    """Randomizer of an environment, episode by episode.

    Args:
        randomization: What is randomised.
        contract: Of the environment.
        get_handles: Returns model and data of its simulation; None where MuJoCo does not simulate.

    Raises:
        ValueError: An entry that selects what this environment does not have.
    """

    def __init__(
        self,
        randomization: Randomization,
        contract: Contract,
        get_handles: Callable[[], Handles | None],
    ) -> None:
        self._randomization = randomization
        self._control_dt_s = contract.control_dt_s
        self._get_handles = get_handles
        self._handles = get_handles()
        self._signals = SignalRandomizer(contract, randomization)
        self._model_randomizer = (
            ModelRandomizer(*self._handles, randomization) if self._handles else None
        )
        if self._handles is None:
            for entry in randomization.entries:
                if entry.about.is_of_model:
                    entry.choose(())  # refuses what is named

    @contextmanager
    def episode(self, start_seed: int, episode_seed: int) -> Iterator[None]:
        """Draw for a new episode; its first state is set up inside.

        What is drawn at start depends on `start_seed` alone, everything else on `episode_seed`. A
        model that is compiled for every episode is randomised when it is there: its first state was
        set up without.
        """
        self._signals.begin(start_seed, episode_seed)
        if self._model_randomizer is not None:
            self._model_randomizer.begin(start_seed, episode_seed)
        with models_edited(*history_edits(self._randomization)):
            yield
        handles = self._get_handles()
        if self._handles is not None and handles is not None and handles[0] is not self._handles[0]:
            self._handles = handles
            self._model_randomizer = ModelRandomizer(*handles, self._randomization)
            self._model_randomizer.begin(start_seed, episode_seed)
            mujoco.mj_forward(*handles)

    def act(self, action: Array) -> Array:
        """Begin a control step; return the action (A,) that arrives at the actuators."""
        self._signals.advance(self._control_dt_s)
        if self._model_randomizer is not None:
            self._model_randomizer.advance(self._control_dt_s)
        return self._signals.act(action)

    def observe(self, observation: Observation) -> dict[str, Array]:
        """Return an observation as the policy receives it."""
        return self._signals.observe(observation)
