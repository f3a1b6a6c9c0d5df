"""Runs r2dreamer's `dreamer` variant, from a checkout that the user names, on our workloads.

Its settings are read from its own files; only sizes, batch and device are ours. Batches are handed
to it ready-made, as they are to our learner. On a CPU it computes in float32, as we do: its half
floats take longer there.
"""

import contextlib
import io
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from _workloads import Workload, make_batch
from torch import Tensor

from robodreamer.config import NetworkConfig
from robodreamer_deploy.contract import Contract

NOTHING = "$^"  # a pattern that no name matches


class R2Dreamer:
    """A learner of r2dreamer, and the batch it learns from."""

    def __init__(self, checkout: Path, workload: Workload, device: torch.device) -> None:
        dreamer = _import_dreamer(checkout)
        if device.type == "cpu":
            dreamer.autocast = _full_precision
        config = _settings(checkout, workload, device)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its gradient scaler finds no GPU
            self._agent = dreamer.Dreamer(config, *_spaces(workload.contract)).to(device)
        self._replay = _Replay(workload, device)

    @property
    def num_parameters(self) -> int:
        """Parameters that it trains."""
        modules = (self._agent.encoder, self._agent.rssm, self._agent.decoder)
        heads = (self._agent.reward, self._agent.cont, self._agent.actor, self._agent.value)
        return sum(p.numel() for module in (*modules, *heads) for p in module.parameters())

    def update(self) -> None:
        """Learn from the batch once."""
        self._agent.update(self._replay)


class _Replay:
    """Hands out one batch for ever, and forgets the latents that come back."""

    def __init__(self, workload: Workload, device: torch.device) -> None:
        batch = make_batch(workload, device)
        context = workload.protocol.replay_context
        self._initial = batch["stoch"][:, context - 1], batch["deter"][:, context - 1]
        data = {_rename(name): value[:, context:] for name, value in batch.items()}
        scalars = [_rename(s.name) for s in workload.contract.observations if not s.shape]
        scalars += ["reward", "is_last", "is_terminal"]
        data |= {name: data[name].unsqueeze(-1) for name in scalars}
        data["action"] = batch["action"][:, context - 1 : -1]
        tensordict = import_module("tensordict")
        self._data = tensordict.TensorDict(data, batch_size=data["is_first"].shape)

    def sample(self) -> tuple[Any, None, tuple[Tensor, Tensor]]:
        """Return the sequences, where they lie, and the latents before them."""
        return self._data.clone(recurse=False), None, self._initial

    def update(self, index: None, stoch: Tensor, deter: Tensor) -> None:
        """Take back the latents of the sequences."""


@contextlib.contextmanager
def _full_precision(**_: Any) -> Iterator[None]:
    yield


def _import_dreamer(checkout: Path) -> Any:
    """Import the checkout's modules, which all lie at its top."""
    sys.path.insert(0, str(checkout))
    try:
        return import_module("dreamer")
    finally:
        sys.path.remove(str(checkout))


def _rename(name: str) -> str:
    """Return r2dreamer's name of a signal; it knows one camera, called `image`."""
    return "image" if name.startswith("image/") else name


def _spaces(contract: Contract) -> tuple[types.SimpleNamespace, types.SimpleNamespace]:
    """Return what it needs to know of observation and action space: shapes."""
    shapes = {
        _rename(signal.name): types.SimpleNamespace(shape=signal.shape or (1,))
        for signal in contract.observations
    }
    action = types.SimpleNamespace(shape=(contract.action.size,))
    return types.SimpleNamespace(spaces=shapes), action


def _settings(checkout: Path, workload: Workload, device: torch.device) -> Any:
    """Return its own settings of the `dreamer` variant with our sizes."""
    omegaconf = import_module("omegaconf").OmegaConf
    model = omegaconf.load(checkout / "configs" / "model" / "_base_.yaml")
    root = omegaconf.create({"device": str(device), "model": model})
    names = [signal.name for signal in workload.contract.observations]
    images = "image" if workload.has_images else NOTHING
    vectors = "(?!image|privileged)" if len(names) > workload.has_images else NOTHING
    ours = {
        "rep_loss": "dreamer",
        "compile": device.type == "cuda",
        "lr": workload.algorithm.optimizer.learning_rate,
        "encoder": {"mlp_keys": vectors, "cnn_keys": images},
        "decoder": {
            "mlp_keys": "(?!image)" if vectors != NOTHING else NOTHING,
            "cnn_keys": images,
        },
    }
    root.model = omegaconf.merge(root.model, _sizes(workload.network), ours)
    return root.model


def _sizes(network: NetworkConfig) -> Mapping[str, Any]:
    """Return our sizes by its names."""
    cnn = {
        "mults": list(network.depth_multipliers),
        "kernel_size": network.kernel,
    }
    twohot = {"shape": [network.bins], "dist": {"bin_num": network.bins}}
    return {
        "deter": network.deter,
        "hidden": network.hidden,
        "discrete": network.classes,
        "depth": network.depth,
        "units": network.units,
        "act": "SiLU",
        "norm": True,
        "rssm": {
            "stoch": network.stoch,
            "img_layers": network.prior_layers,
            "obs_layers": network.posterior_layers,
            "dyn_layers": network.dynamics_layers,
            "blocks": network.blocks,
        },
        "encoder": {"mlp": {"layers": network.encoder_layers}, "cnn": cnn},
        "decoder": {
            "mlp": {"layers": network.decoder_layers},
            "cnn": cnn | {"bspace": network.decoder_blocks},
        },
        "reward": twohot | {"layers": network.reward_layers},
        "cont": {"layers": network.continue_layers},
        "actor": {"layers": network.actor_layers},
        "critic": twohot | {"layers": network.critic_layers},
    }
