"""Pictures on their way into a CNN.

Shapes: N flat batch, H height, W width, C channels of all cameras; `*batch` is any leading axes.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def stack_cameras(
    pictures: Mapping[str, Tensor], is_valid: Mapping[str, Bool[Tensor, "*batch"]] | None
) -> Float[Tensor, "N H W C"]:
    """Stack cameras of one size on channels, in the order given, as numbers in [-0.5, 0.5].

    Args:
        pictures: By signal, uint8 (*batch, H, W, c).
        is_valid: Whether each camera's frame is there; pixels of others become grey.
    """
    images = torch.cat(list(pictures.values()), -1)
    # Centred, so that the zeros of padding and of lost frames are grey, not black.
    flat = images.reshape(-1, *images.shape[-3:]).float() / 255.0 - 0.5
    if is_valid is None:
        return flat
    masks = [
        is_valid[name].reshape(-1, 1, 1, 1).expand(-1, 1, 1, picture.shape[-1])
        for name, picture in pictures.items()
    ]
    return torch.where(torch.cat(masks, -1), flat, 0.0)
