"""The policy on the robot: three graphs, and the state one controller carries between ticks.

`Policy` holds the graphs and no state; any number of `Controller`s share one. At every tick

    tokens = encoder(observation)
    deter, stoch, prior, posterior = rssm_step(deter, stoch, executed action, tokens, noise)
    action = actor(deter, stoch, noise)

Randomness is an input of the graphs: zeros take the mode, and noise that is a pure function of
(seed, step number) makes a recorded drive repeatable.
Letters: D deter, S stoch, K classes, E tokens, A action. Arrays here have no batch axis.
"""

import time
from typing import NamedTuple

import numpy as np

from robodreamer_deploy.bundle.bundle import Bundle, Carry, Draw
from robodreamer_deploy.contract import Array, Observation
from robodreamer_deploy.inference.graph import Graph, Tensor


class NotFiniteError(ArithmeticError):
    """The graphs computed NaN or infinity, so that there is no action to trust."""


class Noise(NamedTuple):
    """Random numbers of one step."""

    stoch: Array  # float32 (S, K), Gumbel
    action: Array  # float32 (A,), standard normal, or Gumbel for a discrete action


class RSSMStep(NamedTuple):
    """Outputs of one step of the world model."""

    deter: Array  # (D,)
    stoch: Array  # (S, K)
    prior_logits: Array  # (S, K), logs of probabilities
    posterior_logits: Array  # (S, K), logs of probabilities


class Step(NamedTuple):
    """What one tick of a controller yields."""

    action: Array  # float32 (A,), what the policy wants done
    surprise: float  # nats, see `surprise`
    counter: int  # number of the step, which with the seed fixes its noise


class Snapshot(NamedTuple):
    """Everything that makes a controller's next step what it is, but the observation."""

    carry: Carry
    seed: int
    counter: int


class Policy:
    """The three graphs of a bundle; has no state and may be shared."""

    def __init__(self, bundle: Bundle) -> None:
        """Load the graphs.

        Raises:
            BundleError: A graph cannot be loaded, or does not fit the manifest.
        """
        manifest = bundle.manifest
        deter, stoch = Tensor((1, *manifest.state.deter)), Tensor((1, *manifest.state.stoch))
        tokens, action = Tensor((1, manifest.token_size)), Tensor((1, bundle.contract.action.size))
        self.bundle = bundle
        self._encoder = Graph(
            bundle.folder / "encoder.onnx",
            {s.name: Tensor((1, *s.shape), s.dtype) for s in bundle.contract.inputs},
            {"tokens": tokens},
        )
        self._rssm_step = Graph(
            bundle.folder / "rssm_step.onnx",
            {
                "deter": deter, "stoch": stoch, "action": action, "tokens": tokens,
                "is_first": Tensor((1,), "bool"), "noise": stoch,
            },
            {
                "deter_next": deter, "stoch_next": stoch,
                "prior_logits": stoch, "posterior_logits": stoch,
            },
        )  # fmt: skip
        self._actor = Graph(
            bundle.folder / "actor.onnx",
            {"deter": deter, "stoch": stoch, "noise": action},
            {"action": action},
        )

    def encode(self, observation: Observation) -> Array:
        """Turn the contract's inputs, raw, into tokens (E,)."""
        inputs = self.bundle.contract.inputs
        (tokens,) = self._encoder.run({s.name: observation[s.name][None] for s in inputs})
        return tokens[0]

    def rssm_step(
        self, carry: Carry, tokens: Array, *, is_first: bool, noise_stoch: Array
    ) -> RSSMStep:
        """Advance the world model by one control step; `is_first` drops all of `carry`."""
        feeds = {**carry._asdict(), "tokens": tokens, "noise": noise_stoch}
        batched = {name: array[None] for name, array in feeds.items()}
        outputs = self._rssm_step.run({**batched, "is_first": np.array([is_first])})
        return RSSMStep(*(output[0] for output in outputs))

    def act(self, deter: Array, stoch: Array, noise_action: Array) -> Array:
        """Choose an action (A,) in a state."""
        feeds = {"deter": deter, "stoch": stoch, "noise": noise_action}
        (action,) = self._actor.run({name: array[None] for name, array in feeds.items()})
        return action[0]

    def noise(self, draw: Draw, seed: int, counter: int) -> Noise:
        """Return the noise of step `counter`: a pure function of its arguments."""
        state, spec = self.bundle.manifest.state, self.bundle.contract.action
        if draw == "mode":
            return Noise(np.zeros(state.stoch, np.float32), np.zeros(spec.size, np.float32))
        bits = np.random.Philox(key=seed, counter=[0, 0, 0, counter])  # 2^192 draws per step
        generator = np.random.Generator(bits)
        stoch = generator.gumbel(size=state.stoch)
        draw_action = generator.gumbel if spec.kind == "discrete" else generator.normal
        return Noise(stoch.astype(np.float32), draw_action(size=spec.size).astype(np.float32))

    def warm_up(self, num_steps: int) -> list[float]:
        """Run steps on a scratch state; return the seconds each took.

        The first calls of a graph are several times slower than all later ones.
        """
        contract = self.bundle.contract
        blank = {s.name: np.zeros(s.shape, s.dtype) for s in contract.inputs}
        scratch = Controller(self, draw="mode")
        seconds: list[float] = []
        for i in range(num_steps):
            start = time.perf_counter()
            scratch.step(blank, is_first=i == 0)
            seconds.append(time.perf_counter() - start)
        return seconds


class Controller:
    """One robot's recurrent policy: a `Policy` and the state it carries."""

    def __init__(self, policy: Policy, *, draw: Draw | None = None, seed: int = 0) -> None:
        """Start from the bundle's initial state; `draw` is the manifest's unless given."""
        self.policy = policy
        self.draw: Draw = draw or policy.bundle.manifest.default_draw
        self._carry, self._seed, self._counter = policy.bundle.initial, seed, 0

    def reset(self, seed: int) -> None:
        """Forget everything, and draw from `seed` from now on."""
        self._carry, self._seed, self._counter = self.policy.bundle.initial, seed, 0

    def step(self, observation: Observation, *, is_first: bool) -> Step:
        """Advance by exactly one control step; the observation has passed the contract.

        Until `executed` says otherwise, the returned action is taken to have been executed.

        Raises:
            NotFiniteError: The world model is not finite; the carried state is left as it was.
        """
        noise = self.policy.noise(self.draw, self._seed, self._counter)
        tokens = self.policy.encode(observation)
        latent = self.policy.rssm_step(
            self._carry, tokens, is_first=is_first, noise_stoch=noise.stoch
        )
        if not all(np.isfinite(output).all() for output in latent):
            # The largest class of a NaN posterior is class 0: a finite action, and a wrong one.
            raise NotFiniteError(f"the world model is not finite at step {self._counter}")
        action = self.policy.act(latent.deter, latent.stoch, noise.action)
        self._carry = Carry(latent.deter, latent.stoch, action)
        step = Step(action, surprise(latent.posterior_logits, latent.prior_logits), self._counter)
        self._counter += 1
        return step

    def executed(self, action: Array) -> None:
        """Tell what was really sent, (A,); it enters the model at the next step."""
        assert action.shape == self._carry.action.shape, action.shape
        self._carry = self._carry._replace(action=action.astype(np.float32))

    def snapshot(self) -> Snapshot:
        """Return the carried state; its arrays are never written to."""
        return Snapshot(self._carry, self._seed, self._counter)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on as the controller did when `snapshot` was taken."""
        self._carry, self._seed, self._counter = snapshot


def surprise(posterior_logits: Array, prior_logits: Array) -> float:
    """Return how much the observation told the model: sum over latents of KL(posterior || prior).

    Both are logs of normalised probabilities, (S, K); the result is in nats.
    """
    posterior, prior = posterior_logits.astype(np.float64), prior_logits.astype(np.float64)
    return float((np.exp(posterior) * (posterior - prior)).sum())
