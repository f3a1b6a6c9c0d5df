"""The list of the reference's parameters (10): names, shapes, and how they start."""

import json
from collections.abc import Iterator
from math import sqrt
from typing import Any

import pytest
import torch
from agents import make_agent
from test_vectors_encdec import make_network
from torch import Tensor
from vectors import FOLDER, Case, signals

from robodreamer.models.decoder import Decoder
from robodreamer.models.encoder import Encoder
from robodreamer.reference import Counterpart, match

Entry = dict[str, Any]

NAME_MAP: dict[str, list[Entry]] = json.loads((FOLDER / "10_name_map.json").read_text())["files"]
SIGMA_AFTER_TRUNCATION = 1.1368 * 0.8796  # of a normal that is cut at two sigma


def counterparts(file: str) -> Iterator[Counterpart]:
    """Yield the counterparts of all parameters of a file, freshly initialised."""
    torch.manual_seed(0)
    if file.startswith("09"):
        agent = make_agent(Case(file, "agent"), filled=False)
        yield from match(agent, agent.contract.observations).values()
        return
    encoder, decoder = Case(file, "enc").options, Case(file, "dec").options
    spaces, rssm = signals(encoder["spaces"]), decoder["rssm"]
    yield from match(
        Encoder(spaces, make_network(encoder)), spaces, path="world_model.encoder"
    ).values()
    yield from match(
        Decoder(spaces, rssm["stoch"] * rssm["classes"], make_network(decoder)),
        spaces,
        path="world_model.decoder",
    ).values()


@pytest.mark.parametrize("file", NAME_MAP)
def test_every_parameter_has_the_references_name_shape_and_start(file: str) -> None:
    ours = {counterpart.reference: counterpart for counterpart in counterparts(file)}
    entries = {entry["name"]: entry for entry in NAME_MAP[file]}
    assert ours.keys() == entries.keys()
    for name, counterpart in ours.items():
        assert counterpart.reference_shape == tuple(entries[name]["shape"]), name
        law = entries[name]["init"]
        if law["law"].startswith("copy of val"):
            source = ours[name.removeprefix("slow")].tensor
            assert torch.equal(counterpart.tensor, source), name
        else:
            check_start(counterpart.tensor, law, name)


def check_start(tensor: Tensor, law: Entry, name: str) -> None:
    """Fail if freshly drawn values do not follow `law`."""
    if law["law"] in {"zeros", "ones"}:
        assert (tensor == float(law["law"] == "ones")).all(), name
        return
    assert law["law"].startswith("normal truncated at +-2"), law
    sigma = law["outscale"] * sqrt(1 / law["fan_in"])
    assert tensor.abs().max() <= 2 * 1.1368 * sigma, name
    # The standard deviation of n draws is known to about one part in sqrt(2 n).
    expected = SIGMA_AFTER_TRUNCATION * sigma
    error = (tensor.square().mean().sqrt() - expected).abs()
    assert error <= 5 * expected / sqrt(2 * tensor.numel()), name
