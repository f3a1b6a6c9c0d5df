"""Encoder: cameras of any size, vectors of any kind, and the mark of a missing value.

What the encoder accepts, the decoder can draw.
"""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robodreamer.config import NetworkConfig
from robodreamer.models.decoder import CameraDecoder
from robodreamer.models.distributions import symlog
from robodreamer.models.encoder import CameraEncoder, Encoder, VectorInput, stage_multipliers
from robodreamer.models.rssm import State
from robodreamer_deploy.contract import Signal
from toy_agent import NETWORK, SIGNALS, VECTORS, make_contract, make_observation


def camera(height: int, width: int, channels: int = 3, name: str = "image/front") -> Signal:
    return Signal(name=name, shape=(height, width, channels), dtype="uint8")


def drawn_shape(signal: Signal, network: NetworkConfig) -> torch.Size:
    """Return the shape of what a decoder draws of one state; nothing is computed."""
    with torch.device("meta"):
        decoder = CameraDecoder([signal], network.stoch * network.classes, network)
        stoch = torch.zeros(1, network.stoch, network.classes)
        return decoder(State(torch.zeros(1, network.deter), stoch))[signal.name].shape


def test_cameras_of_several_sizes_and_vectors_are_joined_into_one_row() -> None:
    encoder = Encoder(SIGNALS, NETWORK)
    tokens = encoder(make_observation(make_contract(), 2, 5))
    front, wrist = 4 * 8 * 8, 4 * 4 * 8  # a quarter of the sides, depth 2 times 4 channels
    assert tokens.shape == (2, 5, encoder.size)
    assert encoder.size == NETWORK.units + front + wrist


@pytest.mark.parametrize("changed", [signal.name for signal in SIGNALS])
def test_every_signal_changes_the_tokens(changed: str) -> None:
    encoder, contract = Encoder(SIGNALS, NETWORK), make_contract()
    observation = make_observation(contract, 1)
    other = make_observation(contract, 1, seed=1)[changed]
    assert not torch.equal(other, observation[changed])
    tokens = encoder(observation)
    assert not torch.equal(encoder(observation | {changed: other}), tokens)


def test_the_order_in_which_signals_are_declared_does_not_matter() -> None:
    torch.manual_seed(0)
    first = Encoder(SIGNALS, NETWORK)
    second = Encoder(SIGNALS[::-1], NETWORK)
    second.load_state_dict(first.state_dict())
    observation = make_observation(make_contract(), 3)
    assert torch.equal(first(observation), second(observation))


def test_cameras_of_one_size_share_a_network() -> None:
    encoder = Encoder([camera(16, 16), camera(16, 16, 1, "image/wrist")], NETWORK)
    (stack,) = encoder.cameras.values()
    assert stack.names == ["image/front", "image/wrist"]
    assert next(stack.parameters()).shape[1] == 4


@pytest.mark.parametrize(("byte", "seen"), [(0, -0.5), (51, -0.3), (255, 0.5)])
def test_pixels_are_centred_before_the_network_sees_them(byte: int, seen: float) -> None:
    encoder = Encoder([camera(16, 16)], NETWORK)
    (stack,) = encoder.cameras.values()
    assert isinstance(stack, CameraEncoder)
    inputs: list[torch.Tensor] = []
    stack.stages[0].register_forward_pre_hook(lambda _, values: inputs.extend(values))
    encoder({"image/front": torch.full((1, 16, 16, 3), byte, dtype=torch.uint8)})
    assert torch.allclose(inputs[0], torch.full_like(inputs[0], seen))


def test_vectors_are_compressed_and_classes_become_one_hot_in_sorted_order() -> None:
    row = VectorInput(VECTORS)
    observation = make_observation(make_contract(VECTORS), 2)
    values = {name: observation[name] for name in observation}
    gripper = torch.nn.functional.one_hot(values["proprio/gripper"].long(), 3).float()
    expected = [
        symlog(values["goal/position"]),
        symlog(values["privileged/object_position"]),
        gripper,
        symlog(values["proprio/joint_position"]),
    ]
    assert torch.equal(row(observation), torch.cat(expected, -1))
    assert row.size == 2 + 3 + 3 + 3


def test_a_missing_value_blanks_its_signal_at_its_step_only() -> None:
    row, contract = VectorInput(VECTORS), make_contract(VECTORS)
    observation = make_observation(contract, 2)
    complete = row(observation)
    observation["proprio/joint_position"][0, 1] = -torch.inf
    observation["proprio/gripper"][1] = -1
    seen = row(observation)
    joints, gripper = slice(8, 11), slice(5, 8)
    assert not seen[0, joints].any()
    assert not seen[1, gripper].any()
    assert torch.equal(seen[1, joints], complete[1, joints])
    assert torch.equal(seen[0, gripper], complete[0, gripper])


@pytest.mark.parametrize(
    ("height", "width", "num_stages"),
    [(64, 64, 4), (32, 32, 3), (48, 64, 4), (16, 48, 2), (96, 128, 4), (12, 12, 2)],
)
def test_a_picture_gets_as_many_stages_as_leave_three_pixels(
    height: int, width: int, num_stages: int
) -> None:
    network = replace(NETWORK, depth_multipliers=(2, 3, 4, 4))
    assert len(stage_multipliers(camera(height, width), network)) == num_stages
    encoder = Encoder([camera(height, width)], network)
    tokens = encoder({"image/front": torch.zeros(1, height, width, 3, dtype=torch.uint8)})
    assert tokens.shape == (1, encoder.size)


@pytest.mark.parametrize(
    ("height", "width", "depth"),
    [(12, 16, 4), (16, 16, 4), (20, 40, 4), (20, 20, 4), (32, 32, 3), (64, 64, 5), (6, 6, 1)],
)
def test_pictures_of_all_sizes_are_drawn_with_any_depth(
    height: int, width: int, depth: int
) -> None:
    network = replace(NETWORK, depth=depth, depth_multipliers=(2, 3, 4, 4))
    assert drawn_shape(camera(height, width), network) == (1, height, width, 3)


@pytest.mark.parametrize(
    ("height", "width", "sentence"),
    [
        (60, 64, "60x64 pixels; 4 CNN stages need sides that are multiples of 16 from 48 to 256"),
        (50, 50, "such as 48x48"),
        (512, 64, "512x64 pixels"),
        (4, 4, "4x4 pixels; 1 CNN stages need sides that are multiples of 2 from 6 to 32"),
    ],
)
def test_a_picture_that_cannot_be_halved_is_refused(height: int, width: int, sentence: str) -> None:
    network = replace(NETWORK, depth_multipliers=(2, 3, 4, 4))
    with pytest.raises(ValueError, match=sentence) as refusal:
        Encoder([camera(height, width)], network)
    assert "image/front" in str(refusal.value)


@given(st.integers(1, 600), st.integers(1, 600), st.integers(1, 5), st.integers(1, 9))
def test_a_suggested_size_is_accepted_and_can_be_drawn(
    height: int, width: int, num_stages: int, depth: int
) -> None:
    network = replace(NETWORK, depth=depth, depth_multipliers=(1, 2, 3, 4, 4)[:num_stages])
    try:
        assert stage_multipliers(camera(height, width), network)
    except ValueError as refusal:
        suggested = str(refusal).rpartition("such as ")[2].split("x")
        height, width = (int(side) for side in suggested)
    assert drawn_shape(camera(height, width), network) == (1, height, width, 3)


def test_a_task_without_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="declares no input signal"):
        Encoder([], NETWORK)
