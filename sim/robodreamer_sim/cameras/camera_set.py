"""Cameras that a policy observes: which ones, their image size, and their rate.

A camera that is slower than control repeats its last image until the next is due. Depth is one
channel of bytes, 0 at the camera and 255 at the stated range and beyond, because the encoder of an
agent takes bytes.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Camera, Signal
from robodreamer_deploy.utils.suggest import closest
from robodreamer_sim.cameras.images import DepthImageSource, Image, ImageSource
from robodreamer_sim.options import CameraConfig, EnvOptions
from robodreamer_sim.utils.rates import is_due


class CameraSet:
    """Set of the cameras that one environment observes.

    Args:
        task: Name of the task, for messages.
        source: Image source of the environment.
        options: Which cameras are observed, and how.
        defaults: Cameras that are observed where the options name none.
        control_dt_s: Seconds from one observation to the next.
        is_used: Whether any camera is observed.
        channels: Number of channels of cameras that have another one than 3, by name.

    Raises:
        ValueError: A camera that does not exist, depth that cannot be measured, or a rate above
            that of control.
    """

    def __init__(
        self,
        task: str,
        source: ImageSource,
        options: EnvOptions,
        defaults: tuple[str, ...],
        control_dt_s: float,
        *,
        is_used: bool,
        channels: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._task, self._source, self._control_dt_s = task, source, control_dt_s
        # before anything is randomised
        self._nominal = {name: source.describe(name) for name in source.names}
        self._channels = channels
        configs = options.camera_configs or tuple(
            CameraConfig(name=name, image_size=options.image_size) for name in defaults
        )
        for config in configs:
            self._check(config)
        self.default = configs[0].name if configs else ""
        """Name of the camera that people are shown."""
        self._configs = [self._with_range(config) for config in configs if is_used]
        self._frames: dict[str, dict[str, Array]] = {}
        self._staged: dict[str, Callable[[], Image]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all cameras that can be observed; empty if nothing can be drawn."""
        return self._source.names

    def describe(self) -> tuple[Camera, ...]:
        """Return the nominal geometry of all cameras that can be observed."""
        return tuple(self._nominal.values())

    @property
    def signals(self) -> Iterator[Signal]:
        """Signals of the observed cameras, in the order of the options."""
        for config in self._configs:
            color = Signal(
                name=f"image/{config.name}",
                shape=(*config.image_size, self._channels.get(config.name, 3)),
                dtype="uint8",
                rate_hz=config.rate_hz,
            )
            yield color
            if config.has_depth:
                yield dataclasses.replace(
                    color, name=f"{color.name}_depth", shape=(*config.image_size, 1)
                )

    @property
    def cameras(self) -> Iterator[Camera]:
        """Geometry of the camera of every signal."""
        for config in self._configs:
            camera = self._nominal[config.name]
            yield camera
            if config.has_depth:
                yield dataclasses.replace(
                    camera, signal=f"{camera.signal}_depth", depth_range_m=config.depth_range_m
                )

    def stage(self, step: int) -> None:
        """Capture the view of every camera that is due at a control step.

        `capture` then returns the images. Environments that stage before any of them captures are
        drawn together, where the renderer can.
        """
        for config in self._configs:
            if is_due(config.rate_hz, self._control_dt_s, step):
                self._staged[config.name] = self._stage(config)

    def capture(self, step: int) -> dict[str, Array]:
        """Return every camera's image at a control step, by signal; step 0 begins an episode."""
        captured: dict[str, Array] = {}
        for config in self._configs:
            if is_due(config.rate_hz, self._control_dt_s, step):
                get_image = self._staged.pop(config.name, None) or self._stage(config)
                self._frames[config.name] = _to_signals(config, get_image())
            for name, frame in self._frames[config.name].items():
                captured[name] = frame.copy()
        return captured

    def draw(self, camera: str | None, height: int, width: int) -> NDArray[np.uint8]:
        """Return an image for people, uint8 (height, width, 3); None takes the default camera."""
        return self._source.draw(camera or self.default, height, width)

    def close(self) -> None:
        """Free the resources for drawing."""
        self._source.close()

    def _check(self, config: CameraConfig) -> None:
        available = self._source.names
        if config.name not in available:
            exist = closest(config.name, available)
            raise ValueError(f"{self._task} has no camera {config.name!r}; it has {exist}")
        if config.has_depth and not isinstance(self._source, DepthImageSource):
            raise ValueError(
                f"{self._task} is drawn by its own render() or observes pictures itself, which "
                "measures no depth; "
                f"ask for {config.name} without it"
            )
        if config.rate_hz is not None and config.rate_hz * self._control_dt_s > 1.0 + 1e-9:
            raise ValueError(
                f"{self._task} is controlled at {1 / self._control_dt_s:g} Hz; camera "
                f"{config.name} cannot be seen at {config.rate_hz:g} Hz"
            )

    def _with_range(self, config: CameraConfig) -> CameraConfig:
        """Return the config with the depth range that holds where it states none."""
        if not config.has_depth or config.depth_range_m:
            return config
        assert isinstance(self._source, DepthImageSource), "others were refused"
        depth_range_m = self._source.default_depth_range_m(config.name)
        return dataclasses.replace(config, depth_range_m=depth_range_m)

    def _stage(self, config: CameraConfig) -> Callable[[], Image]:
        return self._source.stage(config.name, *config.image_size, has_depth=config.has_depth)


def _to_signals(config: CameraConfig, image: Image) -> dict[str, Array]:
    name = f"image/{config.name}"
    if image.depth is None or config.depth_range_m is None:
        return {name: image.color}
    share = np.clip(image.depth / config.depth_range_m, 0.0, 1.0)
    depth = np.rint(255.0 * share).astype(np.uint8)
    return {name: image.color, f"{name}_depth": depth[..., None]}
