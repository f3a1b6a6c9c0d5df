"""Golden vectors of DreamerV1 and V2: camera encoders and decoders without padding."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import pytest
from layers_v12 import dense, layer_norm
from torch import Tensor, nn
from vectors import Case, compare, compare_ours, fill, gradient_of, gradients, leaf
from vectors_v12 import FORWARD, GRADIENT, LOSS, load, names

from robodreamer.config import NetworkConfig
from robodreamer.models.layers import LayerStyle
from robodreamer.models.valid_cnn import (
    ValidCameraDecoder,
    ValidCameraEncoder,
    normal_image_loss,
)
from robodreamer.reference import Counterpart
from robodreamer_deploy.contract import Signal

V1, V2 = "v1_03_encdec", "v2_03_encdec"
MULTIPLIERS = (1, 2, 4, 8)
CONVOLUTION = (3, 2, 0, 1)
SIGNAL_NAME = "image"


def layers_of(
    layers: Sequence[nn.Module], norms: Sequence[nn.Module], layer: str, norm: str, first: int
) -> Iterator[Counterpart]:
    """Yield the counterparts of convolutions and of the norms that follow them."""
    for number, conv in enumerate(layers):
        kernel, bias = conv.parameters()
        yield Counterpart(kernel, f"{layer}{number + first}/kernel", CONVOLUTION)
        yield Counterpart(bias, f"{layer}{number + first}/bias", (0,))
    for number, module in enumerate(norms):
        if isinstance(module, nn.LayerNorm):
            yield from layer_norm(module, f"{norm}{number}")


def encoder_counterparts(encoder: ValidCameraEncoder, file: str) -> dict[str, Counterpart]:
    """Return the counterparts of an encoder, by the reference's names."""
    layer, first = ("enc/h", 1) if file == V1 else ("enc/conv", 0)
    found = layers_of(encoder.convs, list(encoder.norms), layer, "enc/convnorm", first)
    return {c.reference: c for c in found}


def decoder_counterparts(decoder: ValidCameraDecoder, file: str) -> dict[str, Counterpart]:
    """Return the counterparts of a decoder, by the reference's names."""
    start, layer, first = ("dec/h1", "dec/h", 2) if file == V1 else ("dec/convin", "dec/conv", 0)
    convs = layers_of(decoder.convs, list(decoder.norms), layer, "dec/convnorm", first)
    return {c.reference: c for c in chain(dense(decoder.start, start), convs)}


def style(options: Mapping[str, Any]) -> LayerStyle:
    """Return the norm and activation of a case."""
    return LayerStyle(options.get("norm", "none"), options["act"])


def network(options: Mapping[str, Any]) -> NetworkConfig:
    return NetworkConfig(depth=options["depth"], depth_multipliers=MULTIPLIERS)


def signal_like(image: Tensor) -> Signal:
    return Signal(name=f"image/{SIGNAL_NAME}", shape=tuple(image.shape[-3:]), dtype="uint8")


class Drawing:
    """One encoder and decoder case of a file, V1's two cases or V2's one."""

    def __init__(self, file: str, case: str) -> None:
        self.file, self.prefix = file, "" if file == V1 else f"{case}/"
        self.encoder = load(file, "enc" if file == V1 else case)
        self.decoder = load(file, "dec" if file == V1 else case)

    def at(self, part: str, name: str) -> str:
        """Return where the arrays of a part lie: V2's cases hold both parts."""
        return name if self.file == V1 else f"{part}/{name}"


CASES = [(V1, "both")] * bool(names(V1, "enc")) + [(V2, name) for name in names(V2, "image")]


@pytest.mark.parametrize(("file", "name"), CASES)
def test_the_camera_encoder_gives_their_tokens_and_gradients(file: str, name: str) -> None:
    case, at = Drawing(file, name).encoder, Drawing(file, name).at
    image = case[at("enc", "in/image" if file == V1 else "in/obs/image")]
    signal = signal_like(image)
    encoder = ValidCameraEncoder([signal], network(case.options), style(case.options))
    counterparts = encoder_counterparts(encoder, file)
    fill(counterparts, case.section(at("enc", "param")))
    tokens = encoder({signal.name: image})
    compare(case.section(at("enc", "out")), {"embed": tokens}, FORWARD)
    (case[at("enc", "in/w")] * tokens).sum(-1).mean().backward()
    compare_ours(case.section(at("enc", "grad")), counterparts, gradient_of, GRADIENT)


def target_of(case: Case, file: str) -> Tensor:
    return case["in/image"] if file == V1 else case["enc/in/obs/image"]


@pytest.mark.parametrize(("file", "name"), CASES)
def test_the_camera_decoder_gives_their_means_losses_and_gradients(file: str, name: str) -> None:
    case, at = Drawing(file, name).decoder, Drawing(file, name).at
    target, feature = target_of(case, file), leaf(case[at("dec", "in/feat")])
    signal = signal_like(target)
    decoder = ValidCameraDecoder(
        [signal], feature.shape[-1], network(case.options), style(case.options)
    )
    counterparts = decoder_counterparts(decoder, file)
    fill(counterparts, case.section(at("dec", "param")))
    mean = decoder(feature)[signal.name]
    losses = normal_image_loss(mean, target)
    loss = losses.mean()
    out = case.section(at("dec", "out"))
    mean_name, logp, total = (
        ("mean", "logp", "loss") if file == V1 else ("mean/image", "logp/image", "total")
    )
    shown = mean[:, : out[mean_name].shape[1]]  # the first steps only are kept
    compare({mean_name: out[mean_name]}, {mean_name: shown}, FORWARD)
    compare({k: out[k] for k in (logp, total)}, {logp: -losses, total: loss}, LOSS)
    expected = case.section(at("dec", "grad"))
    compare({"feat": expected["in/feat"]}, gradients(loss, {"feat": feature}), GRADIENT)
    loss.backward()
    by_parameter = {k: a for k, a in expected.items() if not k.startswith("in/")}
    compare_ours(by_parameter, counterparts, gradient_of, GRADIENT)
