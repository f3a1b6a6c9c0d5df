"""Conversion of agents of the public JAX code: accepted and refused settings and parameters."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from robodreamer.config import NetworkConfig
from robodreamer.learning.agent import Agent
from robodreamer.reference import config_from_reference, load_parameters, match
from robodreamer_deploy.contract import Contract, Signal
from toy_agent import NETWORK, SIGNALS, make_agent, make_contract, make_observation

Arrays = dict[str, NDArray[Any]]

# One camera size: the reference has one CNN for all cameras.
ONE_SIZE = (
    Signal(name="image/wrist", shape=(16, 16, 1), dtype="uint8"),
    Signal(name="image/front", shape=(16, 16, 3), dtype="uint8"),
    *(signal for signal in SIGNALS if not signal.is_image),
)


def make(contract: Contract | None = None, seed: int = 0) -> Agent:
    return make_agent(contract or make_contract(ONE_SIZE), seed=seed)


def reference_parameters(agent: Agent, keys: dict[str, str] | None = None) -> Arrays:
    """Return an agent's parameters as the reference would have stored them."""
    arrays: Arrays = {}
    for counterpart in match(agent, agent.contract.observations, keys=keys).values():
        ours = counterpart.tensor.detach().numpy()
        if counterpart.order:
            order = np.argsort(counterpart.order.positions)
            ours = ours.take(order, counterpart.order.axis)
        arrays[counterpart.reference] = ours.transpose(np.argsort(counterpart.axes)).copy()
    return arrays


@pytest.mark.parametrize("suffix", ["", "/value"])
def test_a_loaded_agent_has_every_parameter_of_the_stored_one(suffix: str) -> None:
    stored, loaded = make(seed=0), make(seed=1)
    parameters = reference_parameters(stored)
    parameters |= {f"retnorm/lo{suffix}": np.array(-3.0), f"retnorm/hi{suffix}": np.array(7.0)}
    load_parameters(loaded, parameters)
    for name, parameter in stored.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter), name
    assert loaded.actor_critic.return_range.low == -3.0
    assert loaded.actor_critic.return_range.high == 7.0


def test_renamed_signals_mean_the_same_although_they_sort_otherwise() -> None:
    stored = make()
    new_names = dict(zip([s.name for s in ONE_SIZE], renamed(), strict=True))
    signals = tuple(replace(s, name=new_names[s.name]) for s in reversed(ONE_SIZE))
    loaded = make(make_contract(signals), seed=1)
    old_keys = {new: old.partition("/")[2] for old, new in new_names.items()}
    load_parameters(loaded, reference_parameters(stored), keys=old_keys)
    observation = make_observation(stored.contract, 2)
    here = {new_names[name]: value for name, value in observation.items()}
    tokens = stored.world_model.encoder(observation)
    assert torch.allclose(loaded.world_model.encoder(here), tokens, atol=1e-5)
    pictures = stored.world_model.decoder(stored.initial_carry(2).state)
    for name, picture in loaded.world_model.decoder(loaded.initial_carry(2).state).items():
        (old,) = [old for old, new in new_names.items() if new == name]
        assert torch.allclose(picture, pictures[old], atol=1e-6), name


def renamed() -> list[str]:
    """Return names for `ONE_SIZE` that sort in the opposite order within each family."""
    return [
        "image/a_wrist",
        "image/b_front",
        "proprio/a_joints",
        "proprio/b_hand",
        "goal/z",
        "privileged/y",
    ]


def test_optimizer_state_is_passed_over() -> None:
    agent = make()
    load_parameters(agent, reference_parameters(agent) | {"opt/step/value": np.zeros(())})


def test_parameters_that_do_not_fit_are_listed_together_and_none_is_loaded() -> None:
    agent = make()
    before = copy.deepcopy(agent.state_dict())
    parameters = {k: v + 1 for k, v in reference_parameters(agent).items()}
    del parameters["dyn/prior0/bias"]
    parameters["dyn/extra/kernel"] = np.zeros(3)
    parameters["enc/cnn0/kernel"] = np.zeros((5, 5, 4, 9), np.float32)
    with pytest.raises(ValueError, match="do not fit the agent") as refusal:
        load_parameters(agent, parameters)
    message = str(refusal.value)
    assert "missing: dyn/prior0/bias;" in message
    assert "unknown: dyn/extra/kernel;" in message
    assert "enc/cnn0/kernel (5, 5, 4, 9) instead of (5, 5, 4, 4)" in message
    assert all(torch.equal(value, before[name]) for name, value in agent.state_dict().items())


def test_signals_that_would_be_scaled_are_refused() -> None:
    ranged = replace(ONE_SIZE[2], low=(-1.0,) * 3, high=(2.0,) * 3)
    agent = make(make_contract((*ONE_SIZE[:2], ranged)))
    with pytest.raises(ValueError, match=r"but proprio/joint_position would be scaled"):
        load_parameters(agent, {})


def test_cameras_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="one CNN for all cameras"):
        load_parameters(make_agent(), {})


def test_keys_have_to_name_every_signal_once() -> None:
    agent = make()
    with pytest.raises(ValueError, match=r"keys are given for .*, but the signals are"):
        load_parameters(agent, {}, keys={"image/front": "image"})
    names = [signal.name for signal in ONE_SIZE]
    with pytest.raises(ValueError, match="two signals have one key"):
        load_parameters(agent, {}, keys=dict.fromkeys(names, "same"))


@pytest.fixture
def settings() -> dict[str, Any]:
    """Return the agent settings that the golden vectors were made with."""
    file = Path(__file__).parents[2] / "golden" / "09a_agent_continuous.npz"
    with np.load(file) as archive:
        return json.loads(str(archive["meta"]))["cases"]["agent"]["config"]


def test_settings_are_taken_over(settings: dict[str, Any]) -> None:
    settings["dyn"]["rssm"] |= {"deter": 48, "imglayers": 3, "unimix": 0.05}
    settings["enc"]["simple"] |= {"layers": 2, "strided": True}
    settings["repl_loss"]["slowreg"] = 0.5
    settings["loss_scales"]["repval"] = 0.7
    settings["opt"]["agc"] = 0.2
    network, algorithm = config_from_reference(settings)
    assert (network.deter, network.prior_layers) == (48, 3)
    assert (network.encoder_layers, network.decoder_layers, network.pooling) == (2, 3, "stride")
    assert (algorithm.unimix, algorithm.replay_slow_critic_scale) == (0.05, 0.5)
    assert algorithm.loss_scales.replay_value == 0.7
    assert algorithm.optimizer.clip == 0.2
    assert isinstance(network, NetworkConfig)


def test_settings_without_counterpart_are_refused_all_at_once(settings: dict[str, Any]) -> None:
    settings["dyn"]["rssm"]["act"] = "gelu"
    settings["imag_loss"]["slowtar"] = True
    settings["dec"]["simple"]["units"] = 99
    settings["dec"]["simple"]["bspace"] = 0
    settings["opt"]["nesterov"] = True
    with pytest.raises(ValueError, match="settings without a counterpart") as refusal:
        config_from_reference(settings)
    message = str(refusal.value)
    assert "dyn.rssm.act is 'gelu', only 'silu' is possible" in message
    assert "imag_loss.slowtar is True, only False is possible" in message
    assert "dec.simple.units 99" in message
    assert "have to be equal" in message
    assert "dec.simple.bspace has to be above 0" in message
    assert "opt.nesterov is True, only False is possible" in message


def test_incomplete_settings_raise_an_error_that_names_the_missing_ones(
    settings: dict[str, Any],
) -> None:
    del settings["dyn"]["rssm"]["deter"]
    with pytest.raises(ValueError, match=r"the settings lack dyn\.rssm\.deter"):
        config_from_reference(settings)


def test_settings_and_parameters_of_another_size_do_not_fit(settings: dict[str, Any]) -> None:
    network, _ = config_from_reference(settings)
    assert network != NETWORK
    other = make_agent(make_contract(ONE_SIZE), network=replace(NETWORK, units=24))
    with pytest.raises(ValueError, match="of another shape"):
        load_parameters(other, reference_parameters(make()))
