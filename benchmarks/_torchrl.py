"""Runs torchrl's DreamerV3 on our workloads: its modules, losses, optimizer and update.

Put together as its training recipe does (torchrl's repository, sota-implementations/dreamer_v3):
block GRU, separate KL terms, REINFORCE, two-hot critic with a slow one, replayed values. The
recipe has no pictures; for them its own picture encoder and decoder are used, which convolve with
a stride. Batches are handed to it ready-made, as they are to our learner.
"""

from importlib import import_module
from typing import Any

import torch
from _workloads import Workload, make_batch
from torch import Tensor, nn

from robodreamer.config import AlgorithmConfig, NetworkConfig

FEATURE = ["state", "belief"]
NEXT_FEATURE = [("next", "state"), ("next", "belief")]


class TorchRL:
    """A learner of torchrl, and the batch it learns from."""

    def __init__(self, workload: Workload, device: torch.device) -> None:
        algorithms = import_module("torchrl.trainers.algorithms")
        self._loss, targets = _Builder(workload, device).build()
        optimizer = workload.algorithm.optimizer
        self._stepper = algorithms.DreamerV3OptimizationStepper(
            self._loss,
            algorithms.DreamerV3Optimizer(
                self._parameters,
                lr=optimizer.learning_rate,
                agc=optimizer.clip,
                warmup_steps=optimizer.warmup,
            ),
            targets,
        )
        self._batch = _batch(workload, device)
        if device.type == "cuda":
            self._stepper.warmup(self._batch.clone())

    @property
    def _parameters(self) -> list[Tensor]:
        return [p for p in self._loss.parameters() if p.requires_grad]

    @property
    def num_parameters(self) -> int:
        """Parameters that it trains."""
        return sum(p.numel() for p in self._parameters)

    def update(self) -> None:
        """Learn from the batch once."""
        self._stepper.step(None, self._batch.clone(recurse=False))


class _Encoder(nn.Module):
    """Tokens of a vector, a picture, or both."""

    def __init__(self, vectors: nn.Module | None, images: nn.Module | None) -> None:
        super().__init__()
        self.vectors, self.images = vectors, images

    def forward(self, *inputs: Tensor) -> Tensor:
        networks = [network for network in (self.vectors, self.images) if network is not None]
        return torch.cat([net(x) for net, x in zip(networks, inputs, strict=True)], -1)


class _Actor(nn.Module):
    """Mean and standard deviation of a bounded normal."""

    def __init__(
        self, mlp: nn.Module, width: int, actions: int, algorithm: AlgorithmConfig
    ) -> None:
        super().__init__()
        self.mlp, self.algorithm = mlp, algorithm
        self.mean, self.std = nn.Linear(width, actions), nn.Linear(width, actions)

    def forward(self, state: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.mlp(belief, state)
        low, high = self.algorithm.min_std, self.algorithm.max_std
        return self.mean(hidden).tanh(), (high - low) * torch.sigmoid(self.std(hidden) + 2) + low


class _Builder:
    """Puts torchrl's parts together at our sizes."""

    def __init__(self, workload: Workload, device: torch.device) -> None:
        self.network: NetworkConfig = workload.network
        self.algorithm = workload.algorithm
        self.contract, self.device = workload.contract, device
        self.modules = import_module("torchrl.modules")
        self.nn = import_module("tensordict.nn")
        self.objectives = import_module("torchrl.objectives")
        self.stoch_size = self.network.stoch * self.network.classes
        self.feature_size = self.stoch_size + self.network.deter
        signals = self.contract.observations
        self.targets = sum(s.num_elements for s in signals if not s.is_image)
        self.inputs = sum(s.num_elements for s in self.contract.inputs if not s.is_image)
        self.images = [s for s in signals if s.is_image]

    def build(self) -> tuple[Any, Any]:
        """Return the whole loss, and what moves the slow critic."""
        objectives, algorithm, network = self.objectives, self.algorithm, self.network
        prior = self._prior()
        reward = self._mlp(self.feature_size, network.bins, network.reward_layers, outscale=0.0)
        goes_on = self._mlp(self.feature_size, 1, network.continue_layers)
        value = self._twohot(
            self._mlp(self.feature_size, network.bins, network.critic_layers, outscale=0.0),
            FEATURE,
            ["state_value_logits", "state_value"],
        ).to(self.device)
        model_loss = self._model_loss(prior, reward, goes_on)
        actor_loss = objectives.DreamerV3ActorLoss(
            self._actor().to(self.device),
            value,
            self._imagination(prior, reward),
            continuation_model=self._continuation(goes_on),
            imagination_horizon=algorithm.horizon,
            use_reinforce=True,
            entropy_bonus=algorithm.entropy_scale,
        )
        actor_loss.make_value_estimator(
            objectives.ValueEstimators.TDLambda, gamma=1.0, lmbda=algorithm.return_lambda
        )
        value_loss = objectives.DreamerV3ValueLoss(
            value,
            value_loss="two_hot",
            num_value_bins=network.bins,
            actor_loss=actor_loss,
            slow_critic_regularization=algorithm.slow_critic_scale,
        )
        targets = objectives.SoftUpdate(value_loss, tau=algorithm.slow_critic_rate)
        loss = objectives.DreamerV3Loss(
            model_loss,
            actor_loss,
            value_loss,
            replay_value_loss_weight=algorithm.loss_scales.replay_value,
            continuation_horizon=algorithm.discount_horizon,
            lmbda=algorithm.replay_lambda,
        )
        return loss.to(self.device), targets

    def _mlp(self, inputs: int, outputs: int | None, layers: int, outscale: float = 1.0) -> Any:
        return self.modules.DreamerV3MLP(
            inputs, outputs, depth=layers, num_cells=self.network.units, outscale=outscale
        )

    def _wrap(self, module: Any, inputs: list[Any], outputs: list[Any]) -> Any:
        return self.nn.TensorDictModule(module, in_keys=inputs, out_keys=outputs)

    def _twohot(self, mlp: Any, inputs: list[Any], outputs: list[Any]) -> Any:
        decode = self.modules.SymExpTwoHot(self.network.bins)
        return self.nn.TensorDictSequential(
            self._wrap(mlp, inputs, outputs[:1]), self._wrap(decode, outputs[:1], outputs[1:])
        )

    def _prior(self) -> Any:
        network = self.network
        return self.modules.RSSMPriorV3(
            action_shape=(self.contract.action.size,),
            action_dim=self.contract.action.size,
            hidden_dim=network.hidden,
            rnn_hidden_dim=network.deter,
            num_categoricals=network.stoch,
            num_classes=network.classes,
            unimix=self.algorithm.unimix,
            recurrent_model="block_gru",
            num_blocks=network.blocks,
            num_layers=network.dynamics_layers,
            prior_num_layers=network.prior_layers,
        )

    def _posterior(self, token_size: int) -> Any:
        network = self.network
        return self.modules.RSSMPosteriorV3(
            hidden_dim=network.hidden,
            rnn_hidden_dim=network.deter,
            obs_embed_dim=token_size,
            num_categoricals=network.stoch,
            num_classes=network.classes,
            unimix=self.algorithm.unimix,
            use_rms_norm=True,
            num_layers=network.posterior_layers,
        )

    def _encoder(self) -> tuple[Any, int]:
        """Return the encoder and its number of tokens."""
        network, keys, size = self.network, [], 0
        vectors = images = None
        if self.inputs:
            vectors = self._mlp(self.inputs, None, network.encoder_layers)
            keys.append(("next", "symlog_vector"))
            size += network.units
        if self.images:
            images = self.modules.DreamerV3ImageEncoder(
                3, network.depth, network.depth_multipliers, network.kernel
            )
            keys.append(("next", "image"))
            size += images.output_features((3, *self.images[0].shape[:2]))
        return self._wrap(_Encoder(vectors, images), keys, [("next", "encoded_latents")]), size

    def _decoders(self) -> list[Any]:
        network, parts = self.network, []
        if self.targets:
            mlp = self._mlp(self.feature_size, self.targets, network.decoder_layers)
            symlog_key, key = ("next", "symlog_reconstruction"), ("next", "reco_vector")
            parts.append(self._wrap(mlp, NEXT_FEATURE, [symlog_key]))
            parts.append(self._wrap(self.objectives.symexp, [symlog_key], [key]))
        if self.images:
            decoder = self.modules.DreamerV3ImageDecoder(
                self.feature_size,
                (3, *self.images[0].shape[:2]),
                network.depth,
                network.depth_multipliers,
                network.kernel,
                network.decoder_blocks,
            )
            parts.append(self._wrap(decoder, NEXT_FEATURE, [("next", "reco_image")]))
        return parts

    def _model_loss(self, prior: Any, reward: Any, goes_on: Any) -> Any:
        encoder, token_size = self._encoder()
        rollout = self.modules.RSSMRolloutV3(
            self._wrap(prior, [*FEATURE, "action"], [("next", "prior_logits"), *NEXT_FEATURE]),
            self._wrap(
                self._posterior(token_size),
                [("next", "belief"), ("next", "encoded_latents")],
                [("next", "posterior_logits"), ("next", "state")],
            ),
        )
        symlog = self._wrap(
            self.objectives.symlog, [("next", "vector_input")], [("next", "symlog_vector")]
        )
        world_model = self.nn.TensorDictSequential(
            *([symlog] if self.inputs else []),
            encoder,
            rollout,
            *self._decoders(),
            self._twohot(reward, NEXT_FEATURE, [("next", "reward_logits"), ("next", "reward")]),
            self._wrap(goes_on, NEXT_FEATURE, [("next", "continue_pred")]),
        )
        return self._configure(world_model.to(self.device))

    def _configure(self, world_model: Any) -> Any:
        algorithm = self.algorithm
        kinds = ["vector"] * bool(self.targets) + ["image"] * bool(self.images)
        loss = self.objectives.DreamerV3ModelLoss(
            world_model,
            num_reward_bins=self.network.bins,
            free_bits=algorithm.free_nats,
            kl_mode="separate",
            lambda_dynamic=algorithm.loss_scales.dynamics,
            lambda_representation=algorithm.loss_scales.representation,
            unimix=algorithm.unimix,
            lambda_continue=1.0,
            continue_target_scale=1 - 1 / algorithm.discount_horizon,
            reco_symlog=[kind == "vector" for kind in kinds],
            detach_output=False,
        )
        loss.set_keys(pixels=kinds, reco_pixels=[f"reco_{kind}" for kind in kinds])
        return loss

    def _actor(self) -> Any:
        width = self.network.units
        mlp = self._mlp(self.feature_size, None, self.network.actor_layers)
        actor = _Actor(mlp, width, self.contract.action.size, self.algorithm)
        continuous = import_module("torchrl.modules.distributions.continuous")
        return self.nn.ProbabilisticTensorDictSequential(
            self._wrap(actor, FEATURE, ["loc", "scale"]),
            self.nn.ProbabilisticTensorDictModule(
                in_keys=["loc", "scale"],
                out_keys=["action"],
                default_interaction_type=self.nn.InteractionType.RANDOM,
                distribution_class=continuous.IndependentNormal,
                return_log_prob=True,
                log_prob_key="action_log_prob",
            ),
        )

    def _continuation(self, goes_on: Any) -> Any:
        return self.nn.TensorDictSequential(
            self._wrap(goes_on, FEATURE, ["continue_logits"]),
            self._wrap(nn.Sigmoid(), ["continue_logits"], ["continuation"]),
        )

    def _imagination(self, prior: Any, reward: Any) -> Any:
        """Return the environment that the model imagines."""
        data = import_module("torchrl.data")
        transition = self._wrap(prior, [*FEATURE, "action"], ["_", *FEATURE])
        world = self.modules.WorldModelWrapper(
            transition, self._twohot(reward, FEATURE, ["reward_logits", "reward"])
        )
        env = import_module("torchrl.envs.model_based").DreamerEnv(
            world,
            prior_shape=torch.Size([self.stoch_size]),
            belief_shape=torch.Size([self.network.deter]),
            device=self.device,
        )
        env.observation_spec = data.Composite(
            state=data.Unbounded(self.stoch_size), belief=data.Unbounded(self.network.deter)
        ).to(self.device)
        env.state_spec = env.observation_spec.clone()
        env.action_spec = data.Bounded(-1, 1, (self.contract.action.size,)).to(self.device)
        env.reward_spec = data.Unbounded((1,)).to(self.device)
        return env


def _batch(workload: Workload, device: torch.device) -> Any:
    """Return our random batch under torchrl's names, pictures as channels, rows, columns."""
    batch = make_batch(workload, device)
    context = workload.protocol.replay_context
    now = {name: value[:, context:] for name, value in batch.items()}
    following = {
        "reward": now["reward"].unsqueeze(-1),
        "done": now["is_last"].unsqueeze(-1),
        "terminated": now["is_terminal"].unsqueeze(-1),
    }
    vectors = [s for s in workload.contract.observations if not s.is_image]
    if vectors:
        rows = {s: now[s.name].reshape(*now["is_first"].shape, -1) for s in vectors}
        inputs = [row for s, row in rows.items() if s.family != "privileged"]
        following["vector"] = torch.cat(list(rows.values()), -1)
        following["vector_input"] = torch.cat(inputs, -1)
    for signal in workload.contract.observations:
        if signal.is_image:
            following["image"] = now[signal.name].movedim(-1, -3).contiguous()
    previous = slice(context - 1, -1)
    tensordict = import_module("tensordict")
    return tensordict.TensorDict(
        {
            "state": batch["stoch"][:, previous].flatten(-2),
            "belief": batch["deter"][:, previous],
            "action": batch["action"][:, previous],
            "is_init": now["is_first"].unsqueeze(-1),
            "next": following,
        },
        batch_size=now["is_first"].shape,
    )
