"""Golden vectors 06: encoder and decoder, for vectors, cameras and both."""

import pytest
import torch
from vectors import (
    FOLDER,
    GRADIENT,
    Case,
    Options,
    compare,
    compare_ours,
    fill,
    gradient_of,
    gradients,
    leaf,
    signals,
)

from robodreamer.config import NetworkConfig
from robodreamer.models.decoder import Decoder
from robodreamer.models.encoder import Encoder
from robodreamer.models.rssm import State
from robodreamer.reference import match

FILES = sorted(path.name for path in FOLDER.glob("06*_encdec_*.npz"))


def make_network(options: Options) -> NetworkConfig:
    """Return the sizes of an encoder's or decoder's case."""
    sizes, rssm = options["config"], options.get("rssm", {})
    return NetworkConfig(
        units=sizes["units"],
        encoder_layers=sizes["layers"],
        decoder_layers=sizes["layers"],
        depth=sizes["depth"],
        depth_multipliers=tuple(sizes["mults"]),
        kernel=sizes["kernel"],
        pooling="stride" if sizes["strided"] else "max",
        decoder_blocks=sizes.get("bspace", 1),
        deter=rssm.get("deter", 1),
        blocks=rssm.get("blocks", 1),
    )


def observed(case: Case, folder: str) -> dict[str, torch.Tensor]:
    """Return the observations of a case by the names of our signals."""
    names = {
        signal.name.partition("/")[2]: signal.name for signal in signals(case.options["spaces"])
    }
    return {names[key]: value for key, value in case.tensors(folder).items()}


@pytest.mark.parametrize("file", FILES)
def test_the_encoder_gives_the_references_tokens_and_gradients(file: str) -> None:
    case = Case(file, "enc")
    spaces = signals(case.options["spaces"])
    encoder = Encoder(spaces, make_network(case.options))
    counterparts = match(encoder, spaces, path="world_model.encoder")
    fill(counterparts, case.section("param"))
    tokens = encoder(observed(case, "in/obs"))
    compare(case.section("out"), {"tokens": tokens})
    assert tokens.shape[-1] == encoder.size
    (case["in/w"] * tokens).sum(-1).mean().backward()
    compare_ours(case.section("grad"), counterparts, gradient_of)


@pytest.mark.parametrize("file", FILES)
def test_the_decoder_gives_the_references_predictions_losses_and_gradients(file: str) -> None:
    case = Case(file, "dec")
    spaces, rssm = signals(case.options["spaces"]), case.options["rssm"]
    network = make_network(case.options)
    decoder = Decoder(spaces, rssm["stoch"] * rssm["classes"], network)
    counterparts = match(decoder, spaces, path="world_model.decoder")
    fill(counterparts, case.section("param"))
    state = State(leaf(case["in/feat/deter"]), leaf(case["in/feat/stoch"]))
    targets = observed(case, "in/obs")
    losses = decoder.vector_losses(state, targets) | decoder.image_losses(state, targets)
    total = torch.stack([loss.mean() for loss in losses.values()]).sum()
    ours = {f"pred/{name.partition('/')[2]}": value for name, value in decoder(state).items()}
    ours |= {f"loss/{name.partition('/')[2]}": value for name, value in losses.items()}
    compare(case.section("out"), ours | {"total": total})
    compare(case.section("grad/in"), gradients(total, state._asdict()), GRADIENT)
    total.backward()
    by_parameter = {k: a for k, a in case.section("grad").items() if not k.startswith("in/")}
    compare_ours(by_parameter, counterparts, gradient_of)
