"""The controller: a policy and the state it carries from tick to tick.

A step has a part that can be computed before the observation is there. `advance` does so, in the
time that is left after an action was sent:

    advance     deter' = core(deter, stoch, executed action)      prior = prior(deter')
    step        tokens = encoder(observation)       stoch' = posterior(deter', tokens)
                action = actor(deter', stoch')

Where an observation is missing, a draw from the prior takes the posterior's place: the model dreams
on. Letters: D deter, S stoch, K classes, A action.
"""

import time
from typing import Literal, NamedTuple

import numpy as np

from robodreamer_deploy.contract import Array, Observation
from robodreamer_deploy.policy.bundle import Carry
from robodreamer_deploy.policy.graph_spec import DREAM, FEEDBACK
from robodreamer_deploy.policy.manifest import ActionSelection
from robodreamer_deploy.policy.policy import Policy

StepKind = Literal["posterior", "partial", "prior"]
"""Kind of a step, by the model's knowledge of the world: all, all but some cameras, or none."""
NOTHING: frozenset[str] = frozenset()


class NotFiniteError(ArithmeticError):
    """The graphs computed NaN or infinity, so that there is no action to trust."""


class Step(NamedTuple):
    """Output of one tick of a controller."""

    action: Array  # float32 (A,), what the policy wants done
    surprise: float  # nats, see `Latents.kl`; NaN in a prior step, which sees nothing
    counter: int  # number of the step, which with the seed fixes its noise
    kind: StepKind


class Snapshot(NamedTuple):
    """State that determines, with the observation, a controller's next step."""

    carry: Carry
    seed: int
    counter: int


class Controller:
    """One robot's recurrent policy: a `Policy` and the state it carries.

    All arrays are made here, once; a step copies the observation in and the action out.
    """

    def __init__(
        self, policy: Policy, *, draw: ActionSelection | None = None, seed: int = 0
    ) -> None:
        """Start from the bundle's initial state; `draw` is the manifest's unless given."""
        manifest = policy.bundle.manifest
        self.policy = policy
        self._latents = policy.latents
        self.draw: ActionSelection = draw or manifest.default_draw
        self._values = {
            tensor.value: np.zeros(tensor.shape, tensor.dtype)
            for name in policy.graphs
            for tensor in (*manifest.graphs[name].inputs, *manifest.graphs[name].outputs)
        }
        compute = {name: graph.bind(self._values) for name, graph in policy.graphs.items()}
        self._core, self._prior = compute["core.onnx"], compute["prior.onnx"]
        self._encoder, self._posterior = compute["encoder.onnx"], compute["posterior.onnx"]
        self._actor = compute["actor.onnx"]
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Forget everything, and draw from `seed` from now on."""
        self.restore(Snapshot(self.policy.bundle.initial, seed, 0))

    def step(
        self, observation: Observation, *, is_first: bool, missing: frozenset[str] = NOTHING
    ) -> Step:
        """Advance by exactly one control step; the observation has passed the contract.

        Until `executed` says otherwise, the returned action is taken to have been executed.

        Args:
            observation: Every signal that the policy reads, but those that are missing.
            is_first: Whether an episode begins here; drops all that is remembered.
            missing: Cameras without a picture to trust. If there is one, a policy that was not
                trained to do without observes nothing.

        Raises:
            NotFiniteError: The world model is not finite; the carried state is left as it was.
        """
        if is_first or not self._is_ahead:
            self._look_ahead(is_first=is_first)
        kind: StepKind = "posterior"
        if missing:
            kind = "partial" if self.policy.bundle.manifest.validity else "prior"
        surprised = self._dream() if kind == "prior" else self._observe(observation, missing)
        self._actor()
        step = Step(self._values["action"][0].copy(), surprised, self._counter, kind)
        self._commit()
        np.copyto(self._values[FEEDBACK["action"]], self._values["action"])
        return step

    def skip(self) -> None:
        """Advance by a control step that passed without an observation and without a new action.

        Raises:
            NotFiniteError: The world model is not finite; the carried state is left as it was.
        """
        self.advance()
        self._dream()
        self._commit()

    def executed(self, action: Array) -> None:
        """Tell what was really sent, (A,); it enters the model at the next step."""
        np.copyto(self._values[FEEDBACK["action"]][0], action, casting="same_kind")
        self._is_ahead = False

    def advance(self) -> None:
        """Compute now what the next step does not need its observation for; may be called twice.

        To be called when the action has been sent and `executed` told. Changes no result.
        """
        if not self._is_ahead:
            self._look_ahead(is_first=False)

    def snapshot(self) -> Snapshot:
        """Return a copy of the carried state."""
        carry = (self._values[name][0].copy() for name in FEEDBACK.values())
        return Snapshot(Carry(*carry), self._seed, self._counter)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on as the controller did when `snapshot` was taken."""
        for name, value in zip(FEEDBACK.values(), snapshot.carry, strict=True):
            np.copyto(self._values[name][0], value)
        self._seed, self._counter, self._is_ahead = snapshot.seed, snapshot.counter, False

    def _look_ahead(self, *, is_first: bool) -> None:
        """Compute deter and the prior of the next step, with the noise of that step."""
        noise = self.policy.noise(self.draw, self._seed, self._counter)
        np.copyto(self._values["noise_stoch"][0], noise.stoch)
        np.copyto(self._values["noise_action"][0], noise.action)
        self._values["is_first"][0] = is_first
        self._core()
        self._prior()
        self._is_ahead = not is_first  # that of an episode's start serves no other step

    def _observe(self, observation: Observation, missing: frozenset[str]) -> float:
        """Let the posterior draw; return the surprise in nats."""
        bundle = self.policy.bundle
        for camera, bit in bundle.manifest.validity.items():
            self._values[bit][0] = camera not in missing
        for signal in bundle.contract.inputs:
            if signal.name in missing:
                continue  # whatever stands there, the bit keeps it out
            np.copyto(self._values[signal.name], observation[signal.name], casting="no")
        self._encoder()
        self._posterior()
        self._require_finite("deter_next", "prior", "posterior")
        return self._latents.kl(self._values["posterior"][0], self._values["prior"][0])

    def _dream(self) -> float:
        """Let the prior draw, in the posterior's place."""
        self._require_finite("deter_next", "prior")
        for drawn, place in DREAM.items():
            np.copyto(self._values[place], self._values[drawn])
        return float("nan")

    def _commit(self) -> None:
        """Make the new state the one that is carried."""
        for new in ("deter_next", "stoch_next"):
            np.copyto(self._values[FEEDBACK[new]], self._values[new])
        self._counter += 1
        self._is_ahead = False

    def _require_finite(self, *names: str) -> None:
        # The largest class of a NaN posterior is class 0: a finite action, and a wrong one.
        if not all(np.isfinite(self._values[name]).all() for name in names):
            raise NotFiniteError(f"the world model is not finite at step {self._counter}")


def warm_up(policy: Policy, num_steps: int) -> list[float]:
    """Run steps on a scratch state, of every kind; return the seconds each took, from sense to act.

    The first calls of a graph are several times slower than all later ones.
    """
    blank = {s.name: np.zeros(s.shape, s.dtype) for s in policy.bundle.contract.inputs}
    scratch = Controller(policy, draw="mode")
    seconds: list[float] = []
    for i in range(num_steps):
        start = time.perf_counter()
        scratch.step(blank, is_first=i == 0)
        seconds.append(time.perf_counter() - start)
        scratch.advance()
    return seconds
