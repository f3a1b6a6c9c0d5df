"""The cameras that a policy sees through: which, how large, and how often.

A camera that is slower than control shows its last picture again until the next is due. Depth
comes as one channel of bytes, 0 for the camera itself and 255 for its stated range and beyond, as
pictures are what the encoder of an agent takes.
"""

import copy
import dataclasses
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Camera, Signal
from robodreamer_deploy.utils.suggest import closest
from robodreamer_sim.cameras.images import DepthPictures, Picture, Pictures, Taking
from robodreamer_sim.options import CameraRequest, EnvOptions


class Shot(NamedTuple):
    """What one camera is asked for."""

    camera: str
    height: int
    width: int
    rate_hz: float | None
    depth_range_m: float | None
    """None where no depth is wanted."""


class CameraRig:
    """The cameras of one environment, as its options ask for them.

    Args:
        task: For messages.
        pictures: What draws.
        options: Which cameras are observed, and how.
        usual: The cameras that are observed where the options name none.
        control_dt_s: Seconds from one observation to the next.
        is_used: Whether cameras are observed at all.
        channels: Of cameras whose pictures have another number of them than 3.

    Raises:
        ValueError: A camera that does not exist, depth that cannot be measured, or a rate beyond
            that of control.
    """

    def __init__(
        self,
        task: str,
        pictures: Pictures,
        options: EnvOptions,
        usual: tuple[str, ...],
        control_dt_s: float,
        *,
        is_used: bool,
        channels: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._task, self._pictures, self._control_dt_s = task, pictures, control_dt_s
        # before anything is randomised
        self._nominal = {name: pictures.describe(name) for name in pictures.names}
        self._channels = channels
        requests = options.camera_requests or tuple(CameraRequest(name=name) for name in usual)
        for request in requests:
            self._check(request)
        self.default = requests[0].name if requests else ""
        """Name of the camera that people are shown."""
        self._shots = [self._shot(request, options) for request in requests if is_used]
        self._frames: dict[str, dict[str, Array]] = {}
        self._staged: dict[str, Taking] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all cameras that can be asked for; empty if nothing can be drawn."""
        return self._pictures.names

    def describe(self) -> tuple[Camera, ...]:
        """Return the nominal geometry of all cameras that can be asked for."""
        return tuple(self._nominal.values())

    @property
    def signals(self) -> Iterator[Signal]:
        """The signals of all cameras, in the order asked for."""
        for shot in self._shots:
            color = Signal(
                name=f"image/{shot.camera}",
                shape=(shot.height, shot.width, self._channels.get(shot.camera, 3)),
                dtype="uint8",
                rate_hz=shot.rate_hz,
            )
            yield color
            if shot.depth_range_m is not None:
                yield dataclasses.replace(
                    color, name=f"{color.name}_depth", shape=(shot.height, shot.width, 1)
                )

    @property
    def cameras(self) -> Iterator[Camera]:
        """Geometry of every signal's camera."""
        for shot in self._shots:
            camera = self._nominal[shot.camera]
            yield camera
            if shot.depth_range_m is not None:
                yield dataclasses.replace(
                    camera, signal=f"{camera.signal}_depth", depth_range_m=shot.depth_range_m
                )

    def twin(self) -> "CameraRig":
        """Return a rig with the same cameras and pictures that keeps what it captured to itself."""
        rig = copy.copy(self)
        rig._frames, rig._staged = {}, {}  # noqa: SLF001  its own kind
        return rig

    def stage(self, step: int) -> None:
        """Let every camera that is due look at what there is at a control step.

        `capture` then returns that. Environments whose cameras look before any of them captures are
        drawn together, where what draws them can.
        """
        for shot in self._shots:
            if is_due(shot.rate_hz, self._control_dt_s, step):
                self._staged[shot.camera] = self._look(shot)

    def capture(self, step: int) -> dict[str, Array]:
        """Return what every camera shows at a control step, by signal; step 0 begins an episode."""
        captured: dict[str, Array] = {}
        for shot in self._shots:
            if is_due(shot.rate_hz, self._control_dt_s, step):
                taking = self._staged.pop(shot.camera, None) or self._look(shot)
                self._frames[shot.camera] = _frames(shot, taking())
            for name, frame in self._frames[shot.camera].items():
                captured[name] = frame.copy()
        return captured

    def draw(self, camera: str | None, height: int, width: int) -> NDArray[np.uint8]:
        """Return a picture for people, uint8 (height, width, 3); None takes the default camera."""
        return self._pictures.draw(camera or self.default, height, width)

    def close(self) -> None:
        """Free what drawing needs."""
        self._pictures.close()

    def _check(self, request: CameraRequest) -> None:
        available = self._pictures.names
        if request.name not in available:
            exist = closest(request.name, available)
            raise ValueError(f"{self._task} has no camera {request.name!r}; it has {exist}")
        if request.has_depth and not isinstance(self._pictures, DepthPictures):
            raise ValueError(
                f"{self._task} is drawn by its own render() or observes pictures itself, which "
                "measures no depth; "
                f"ask for {request.name} without it"
            )
        if request.rate_hz is not None and request.rate_hz * self._control_dt_s > 1.0 + 1e-9:
            raise ValueError(
                f"{self._task} is controlled at {1 / self._control_dt_s:g} Hz; camera "
                f"{request.name} cannot be seen at {request.rate_hz:g} Hz"
            )

    def _shot(self, request: CameraRequest, options: EnvOptions) -> Shot:
        height, width = request.image_size or options.image_size
        depth_range = None
        if request.has_depth and isinstance(self._pictures, DepthPictures):
            depth_range = request.depth_range_m or self._pictures.usual_depth_m(request.name)
        return Shot(request.name, height, width, request.rate_hz, depth_range)

    def _look(self, shot: Shot) -> Taking:
        has_depth = shot.depth_range_m is not None
        return self._pictures.stage(shot.camera, shot.height, shot.width, has_depth=has_depth)


def _frames(shot: Shot, picture: Picture) -> dict[str, Array]:
    """Return a picture as signals."""
    name = f"image/{shot.camera}"
    if picture.depth is None or shot.depth_range_m is None:
        return {name: picture.color}
    share = np.clip(picture.depth / shot.depth_range_m, 0.0, 1.0)
    depth = np.rint(255.0 * share).astype(np.uint8)
    return {name: picture.color, f"{name}_depth": depth[..., None]}


def is_due(rate_hz: float | None, control_dt_s: float, step: int) -> bool:
    """Whether a camera takes a picture between the control step before and this one."""
    if rate_hz is None or step == 0:
        return True
    before, now = (math.floor(s * rate_hz * control_dt_s + 1e-9) for s in (step - 1, step))
    return now > before
