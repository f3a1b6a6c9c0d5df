"""Devices that compute graphs: the CPU, or one that the installed onnxruntime was built for."""

import importlib
import os
from collections.abc import Mapping
from typing import Any, Literal, cast

from robodreamer_deploy.errors import BundleError

Provider = Literal["cpu", "cuda", "tensorrt"]
PROVIDERS: Mapping[Provider, tuple[str, Mapping[str, str]]] = {
    "cpu": ("CPUExecutionProvider", {}),
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
    "tensorrt": ("TensorrtExecutionProvider", {"trt_fp16_enable": "0"}),
}
"""Name in onnxruntime, and settings with which a device computes in full precision."""


def import_onnxruntime() -> Any:
    """Import onnxruntime with its telemetry off; every import of ours goes through here.

    Its Linux wheels of late 2026 keep a device id and a queue of events in the home folder and
    upload them. They read the variable at import, so it is set before; a user's own value stays.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module("onnxruntime")


def require_provider(provider: Provider) -> None:
    """Refuse a device that the installed onnxruntime does not know.

    Raises:
        BundleError: With what it does know.
    """
    runtime = import_onnxruntime()
    available = cast("list[str]", runtime.get_available_providers())
    if PROVIDERS[provider][0] not in available:
        known = [name for name, (provider, _) in PROVIDERS.items() if provider in available]
        raise BundleError(
            f"--provider {provider} needs {PROVIDERS[provider][0]}; onnxruntime "
            f"{runtime.__version__} here has {', '.join(known)} ({', '.join(available)}); on a "
            "machine with a GPU install onnxruntime-gpu in its place"
        )
