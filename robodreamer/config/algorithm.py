"""Settings of learning: losses, imagination, returns, actor, critic, optimizer."""

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from robodreamer.config.intrinsic import IntrinsicConfig
from robodreamer.config.optimizer import OptimizerConfig
from robodreamer.config.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class LossScales(Settings):
    """Weight of every loss in the one sum; names equal the losses produced."""

    OPTION: ClassVar[str] = "--algorithm.loss-scales."

    images: NonNegativeFloat = 1.0
    """Reconstruction of each camera, a sum over pixels."""
    vectors: NonNegativeFloat = 1.0
    """Reconstruction of each vector, a sum over its elements."""
    auxiliary: NonNegativeFloat = 0.0
    """Prediction of each privileged vector from the encoder's tokens alone, so that the camera's
    network learns what matters before the latent state does; 0 leaves that head out."""
    reward: NonNegativeFloat = 1.0
    """Prediction of the reward."""
    continuation: NonNegativeFloat = 1.0
    """Prediction that the episode goes on; 0 leaves that head out, and the discount is constant."""
    dynamics: NonNegativeFloat = 1.0
    """KL that pulls the prior towards the posterior."""
    representation: NonNegativeFloat = 0.1
    """KL that pulls the posterior towards the prior."""
    kl: NonNegativeFloat = 1.0
    """KL in one term, which pulls both."""
    policy: NonNegativeFloat = 1.0
    """Actor, on imagined steps."""
    value: NonNegativeFloat = 1.0
    """Critic, on imagined steps."""
    replay_value: NonNegativeFloat = 0.3
    """Critic, on replayed steps; 0 leaves that loss out."""


@dataclass(frozen=True, kw_only=True)
class AlgorithmConfig(Settings):
    """Settings of learning (`--preset`): world model, imagination, returns, actor and critic.

    Defaults are those of DreamerV3 (Hafner et al., 2025, "Hyperparameters").
    """

    OPTION: ClassVar[str] = "--algorithm."

    latent: Literal["categorical", "gumbel", "gaussian"] = "categorical"
    """Family of the latent variables: classes with straight-through gradients, classes with those
    of a Gumbel-softmax, or normal variables."""
    unimix: NonNegativeFloat = 0.01
    """Share of the uniform distribution in the probabilities of classes."""
    temperature: PositiveFloat = 1.0
    """Temperature of the Gumbel-softmax in the first update."""
    temperature_end: PositiveFloat = 0.5
    """Temperature that it falls to, geometrically; below 0.3 gradients grow large."""
    temperature_updates: PositiveInt = 10_000
    """Updates until then."""
    latent_std: Literal["softplus", "sigmoid", "sigmoid2"] = "softplus"
    """Activation of the standard deviation of normal latents; sigmoid2 is 2 sigmoid(x / 2)."""
    latent_min_std: PositiveFloat = 0.1
    """Number added to that standard deviation."""
    kl: Literal["two_terms", "one_term"] = "two_terms"
    """KL losses: one for the prior and one for the posterior, weighed apart, or one for both."""
    free_nats: NonNegativeFloat = 1.0
    """KL below which its losses do not push."""
    free_average: bool = False
    """Compare the free nats with the mean over a batch, not with every step."""
    reward_transform: Literal["none", "tanh"] = "none"
    """Function of the reward that is learned."""
    actor_gradient: Literal["reinforce", "dynamics", "both", "auto"] = "reinforce"
    """Estimator of the actor's gradient: from the probability of imagined actions (REINFORCE), by
    backpropagation of returns through the model, the mix of both, or `auto`: reinforce for discrete
    actions, dynamics for continuous ones."""
    dynamics_share: NonNegativeFloat = 0.1
    """Share of backpropagation in the mix."""
    model_first: bool = False
    """Update the world model before it imagines, not together with actor and critic."""
    horizon: PositiveInt = 15
    """Imagined steps H."""
    imagination_last: NonNegativeInt = 0
    """Imagine from this many last steps of each sequence; 0 means from all."""
    imagine_from_last: bool = True
    """Imagine from the very last step of a sequence too."""
    returns: Literal["next_step", "same_step", "imagined_only"] = "next_step"
    """Steps of returns. `next_step`: the value of a state is what follows it. `same_step`: it holds
    the reward of the state itself. `imagined_only`: so too, and the state that imagination starts
    from has no return."""
    return_critic: Literal["fast", "slow"] = "fast"
    """Critic that returns and baselines are made with: the learned one or its slow copy."""
    discount_horizon: PositiveInt = 333
    """Continue targets and replay returns use a discount of 1 - 1/this."""
    return_lambda: NonNegativeFloat = 0.95
    """Lambda of the imagined returns."""
    entropy_scale: NonNegativeFloat = 3e-4
    """Weight of the actor's entropy."""
    slow_critic_rate: NonNegativeFloat = 0.02
    """Share of the critic that the slow critic takes over when it moves."""
    slow_critic_every: PositiveInt = 1
    """Updates from one move of the slow critic to the next."""
    slow_critic_scale: NonNegativeFloat = 1.0
    """Weight of the critic's pull towards the slow critic."""
    replay_lambda: NonNegativeFloat = 0.95
    """Lambda of the returns along replayed rewards."""
    replay_slow_critic_scale: NonNegativeFloat = 1.0
    """As `slow_critic_scale`, for the value loss on replayed steps."""
    return_rate: NonNegativeFloat = 0.01
    """Rate of the running percentiles of the returns."""
    return_low: NonNegativeFloat = 5.0
    """Lower percentile of the returns."""
    return_high: NonNegativeFloat = 95.0
    """Upper percentile; its distance from the lower one divides the advantages."""
    return_limit: NonNegativeFloat = 1.0
    """Smallest distance assumed, so that small returns are not enlarged."""
    min_std: NonNegativeFloat = 0.1
    """Smallest standard deviation of the continuous actor."""
    max_std: NonNegativeFloat = 1.0
    """Largest standard deviation of the normal actor."""
    init_std: float = 0.0
    """Number added to the output that a squashed or truncated actor makes its standard deviation
    of; 4.993, ln(e^5 - 1), starts a squashed one at 5 (DreamerV1)."""
    mean_scale: PositiveFloat = 5.0
    """Largest mean of a squashed actor before tanh."""
    action_noise: NonNegativeFloat = 0.0
    """Noise while collecting: standard deviation of a normal added to continuous actions, which are
    clipped then, or the share of discrete actions that are random."""
    camera_dropout: NonNegativeFloat = 0.0
    """Share of camera frames that the agent learns to do without, each camera for itself; the
    encoder then reads a bit per camera that says whether its frame is there. 0 leaves that bit out:
    on a robot the model then dreams through a lost frame, all other signals of that step unread."""
    camera_gap: PositiveFloat = 3.0
    """Steps that frames of a camera are lost in a row, on average: gaps have geometric lengths, so
    that with 3 a third of them is a single frame and one in eleven longer than six."""
    intrinsic: IntrinsicConfig = field(default_factory=IntrinsicConfig)
    loss_scales: LossScales = field(default_factory=LossScales)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.imagination_last == 1:
            raise ValueError(
                "--algorithm.imagination-last has to be more than 1, or 0 for all steps"
            )
        if self.camera_gap < 1:
            raise ValueError(
                f"--algorithm.camera-gap has to be 1 or more steps, got {self.camera_gap}"
            )
        if not math.isfinite(self.init_std):
            raise ValueError(
                f"--algorithm.init-std has to be a finite number, such as 0, got {self.init_std}"
            )
        if self.temperature_end > self.temperature:
            raise ValueError(
                "--algorithm.temperature-end can be --algorithm.temperature at most, "
                f"{self.temperature:g}, got {self.temperature_end:g}"
            )
        if self.dynamics_share > 1:
            raise ValueError(f"--algorithm.dynamics-share is 0 to 1, got {self.dynamics_share:g}")
        if self.model_first and self.loss_scales.replay_value:
            raise ValueError(
                "--algorithm.model-first needs --algorithm.loss-scales.replay-value 0, because "
                "that loss trains model and critic together"
            )
        # Gaps of n steps on average with one frame between them lose n of n + 1 frames.
        share = self.camera_gap / (1 + self.camera_gap)
        if self.camera_dropout > share:
            raise ValueError(
                f"--algorithm.camera-dropout can be {share:g} at most with gaps of "
                f"{self.camera_gap:g} steps, between which there is a frame, got "
                f"{self.camera_dropout}"
            )
