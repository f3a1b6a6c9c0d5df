"""Start of a Dreamer's camera encoder from that of an autoencoder of the same shape."""

from collections.abc import Iterator
from typing import Any

from robodreamer.config import NetworkConfig
from robodreamer.models.encoder import Encoder
from robodreamer.runs.vae_folder import LoadedVae


def start_camera(encoder: Encoder, network: NetworkConfig, vae: LoadedVae) -> None:
    """Copy the weights, for the cameras whose pictures have the autoencoder's size.

    Both read value / 255 - 0.5, so the features are the same.

    Raises:
        ValueError: The two are not of the same shape; names every setting that differs.
    """
    if found := list(_differences(encoder, network, vae)):
        changes = ", ".join(f"{name} {theirs} (here {ours})" for name, ours, theirs in found)
        raise ValueError(f"the camera can start from this autoencoder only with {changes}")
    encoder.cameras[_size(vae)].load_state_dict(vae.model.encoder.state_dict())


def _size(vae: LoadedVae) -> str:
    return f"{vae.shape[0]}x{vae.shape[1]}"


def _differences(
    encoder: Encoder, network: NetworkConfig, vae: LoadedVae
) -> Iterator[tuple[str, Any, Any]]:
    """Yield what differs, by the name of its option: the run's value and the autoencoder's."""
    theirs = vae.config.network
    if _size(vae) not in encoder.cameras:
        yield "pictures (--data.image-size) of", " and ".join(encoder.cameras) or "none", _size(vae)
    else:
        ours, other = encoder.cameras[_size(vae)].channels, vae.model.encoder.channels
        if ours != other:
            yield "channels of all cameras", ours, other
    for name in ("camera", "norm", "camera_activation"):
        ours, other = getattr(network.parts, name), getattr(theirs.parts, name)
        if ours != other:
            yield network.parts.option(name), ours, other
    if network.depth != theirs.depth:
        yield network.option("depth"), network.depth, theirs.depth
    ours, other = (" ".join(map(str, n.depth_multipliers)) for n in (network, theirs))
    if ours != other:
        yield network.option("depth_multipliers"), ours, other
