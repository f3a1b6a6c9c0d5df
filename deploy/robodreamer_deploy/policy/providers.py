"""Where graphs are computed: on the CPU, or on a device that this onnxruntime was built for."""

from collections.abc import Mapping
from typing import Any, Literal, cast

import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

from robodreamer_deploy.errors import BundleError

Provider = Literal["cpu", "cuda", "tensorrt"]
PROVIDERS: Mapping[Provider, tuple[str, Mapping[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
    "tensorrt": ("TensorrtExecutionProvider", {"trt_fp16_enable": "0"}),
}
"""Name in onnxruntime, and settings with which a device computes in full precision."""


def require_provider(provider: Provider) -> None:
    """Refuse a device that the installed onnxruntime does not know.

    Raises:
        BundleError: With what it does know.
    """
    runtime = cast("Any", onnxruntime)  # it ships no types
    available = cast("list[str]", runtime.get_available_providers())
    if PROVIDERS[provider][0] not in available:
        known = [name for name, (provider, _) in PROVIDERS.items() if provider in available]
        raise BundleError(
            f"--provider {provider} needs {PROVIDERS[provider][0]}; onnxruntime "
            f"{runtime.__version__} here has {', '.join(known)} ({', '.join(available)}); on a "
            "machine with a GPU install onnxruntime-gpu in its place"
        )
