"""A camera read through OpenCV: a device, a file, or a stream; `composite` adds it to a robot.

A thread of its own captures, so that no control step ever waits for a picture. Each frame is
stamped with the monotonic clock the moment it was grabbed: the exposure and the transport to this
computer, which no camera tells, came before. Needs the extra `camera`.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.image_fit import import_cv2, make_fit
from robodreamer_deploy.robots.thread_priority import raise_to_loop

logger = logging.getLogger(__name__)

FIRST_FRAME_WITHIN_S = 5.0
CLOSE_WITHIN_S = 2.0
STREAM_TIMEOUT_MS = 3000
LATE_PERIODS = 1.5
"""A frame is late that comes more than so many periods after the one before."""


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """Source of a camera's pictures, and the part of them that the policy sees."""

    source: str
    """A device (`0` or `/dev/video0`), a file, or the URL of a stream."""
    crop: tuple[int, int, int, int] | None = None
    """(top, left, height, width) in the camera's pixels; None for the largest centred part with
    the aspect ratio of the policy's picture."""
    capture_size: tuple[int, int] | None = None
    """(height, width) to ask of a device; None for its own choice."""
    rate_hz: float | None = None
    """Frames per second to ask of a device; None for its own choice."""

    def __post_init__(self) -> None:
        """Refuse what no camera can do."""
        if self.rate_hz is not None and self.rate_hz <= 0.0:
            raise ValueError(f"rate_hz {self.rate_hz} is not above 0")
        if self.capture_size is not None and min(self.capture_size) < 1:
            raise ValueError(f"capture_size {self.capture_size} is no size")
        if self.crop is not None and (min(self.crop) < 0 or min(self.crop[2:]) < 1):
            raise ValueError(f"crop {self.crop} is not (top, left, height, width)")


class Frame(NamedTuple):
    """A picture as the policy wants it, and when it was taken."""

    picture: Array  # uint8 (H, W, C), red-green-blue
    stamp_s: float  # monotonic, when it had been grabbed
    number: int  # 0 for the first


@dataclass
class CameraReport:
    """Statistics of a camera since it was connected."""

    num_frames: int = 0
    """Frames captured."""
    num_dropped: int = 0
    """Frames that a newer one replaced before they were read."""
    num_late: int = 0
    """Frames that came later than the camera's rate promises."""


class OpenCVCamera:
    """The newest frame of one camera, at any time, without waiting.

    Args:
        settings: Where from, and which part.
        shape: (H, W, C) of the policy's picture.
        open_capture: Makes OpenCV's `VideoCapture`; tests bring their own.
    """

    def __init__(
        self,
        settings: CameraSettings,
        shape: tuple[int, ...],
        *,
        open_capture: Callable[[CameraSettings], Any] | None = None,
    ) -> None:
        self.settings = settings
        self.shape = shape
        self.report = CameraReport()
        self._open_capture = open_capture or open_with_opencv
        self._fit = make_fit(shape, settings.crop)
        self._thread: threading.Thread | None = None
        self._should_stop = threading.Event()
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._is_seen = True
        self._fault: str | None = None

    @property
    def fault(self) -> str | None:
        """Reason why no more frames come; None while they do."""
        return self._fault

    def connect(self) -> None:
        """Begin to capture; return when the first frame is there.

        Raises:
            RobotError: There is none within five seconds, and why.
        """
        import_cv2()
        self.disconnect()
        self.report, self._frame, self._fault, self._is_seen = CameraReport(), None, None, True
        self._should_stop = threading.Event()
        arguments = (self._should_stop,)
        self._thread = threading.Thread(
            target=self._capture, args=arguments, name=f"camera {self.settings.source}", daemon=True
        )
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._frame or self._fault, FIRST_FRAME_WITHIN_S)
        if self._frame is None:
            fault = self._fault or (
                f"{self.settings.source} gave no picture within {FIRST_FRAME_WITHIN_S:g} s"
            )
            self.disconnect()
            raise RobotError(fault)

    def newest(self) -> Frame | None:
        """Return the newest frame, also if it was returned before; None if there is none.

        After the end of a file or the loss of a camera, its last frame stays: its stamp tells how
        old it is, and `fault` why.
        """
        with self._changed:
            self._is_seen = True
            return self._frame

    def disconnect(self) -> None:
        """Stop capturing, within two seconds; a thread that hangs in a driver is left behind."""
        thread, self._thread = self._thread, None
        self._should_stop.set()
        if thread is None:
            return
        thread.join(CLOSE_WITHIN_S)
        if thread.is_alive():
            logger.warning("camera %s does not let itself be closed", self.settings.source)
        report = self.report
        logger.info(
            "camera %s: %d frames, %d dropped, %d late",
            self.settings.source,
            report.num_frames,
            report.num_dropped,
            report.num_late,
        )

    def _capture(self, should_stop: threading.Event) -> None:
        """Be the thread: open, capture until told to stop, release."""
        source = self.settings.source
        raise_to_loop()
        try:
            capture = self._open_capture(self.settings)
        except Exception as error:  # noqa: BLE001  a driver raises what it likes; `fault` tells it
            self._end(should_stop, str(error) or type(error).__name__)
            return
        try:
            fault = self._run(capture, should_stop)
        except Exception as error:  # noqa: BLE001
            fault = f"camera {source}: {error or type(error).__name__}"
        finally:
            capture.release()
        if fault is not None:
            self._end(should_stop, fault)

    def _run(self, capture: Any, should_stop: threading.Event) -> str | None:
        """Capture until told to stop; return why no more frames come, None if told to."""
        cv2 = import_cv2()
        source = self.settings.source
        rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
        period_s = 1.0 / rate_hz if rate_hz > 0.0 else None
        is_file = Path(source).is_file()
        start = last = time.monotonic()
        number = 0
        while not should_stop.is_set():
            if not capture.grab():
                return _tell_end(source, number, is_file=is_file)
            stamp = time.monotonic()
            is_good, picture = capture.retrieve()
            if not is_good:
                return f"camera {source} gave a picture that cannot be decoded"
            is_late = period_s is not None and number > 0 and stamp - last > LATE_PERIODS * period_s
            last = stamp
            colours = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
            self._publish(should_stop, Frame(self._fit(colours), stamp, number), is_late=is_late)
            number += 1
            if is_file and period_s is not None:  # a file is read as fast as it was recorded
                should_stop.wait(max(0.0, start + number * period_s - time.monotonic()))
        return None

    def _publish(self, should_stop: threading.Event, frame: Frame, *, is_late: bool) -> None:
        with self._changed:
            if should_stop.is_set():  # a thread that hung for long belongs to another connection
                return
            self.report.num_frames += 1
            self.report.num_dropped += not self._is_seen
            self.report.num_late += is_late
            self._frame, self._is_seen = frame, False
            self._changed.notify_all()

    def _end(self, should_stop: threading.Event, fault: str) -> None:
        with self._changed:
            if should_stop.is_set():
                return
            self._fault = fault
            self._changed.notify_all()
        logger.error("%s", fault)


def open_with_opencv(settings: CameraSettings) -> Any:
    """Return OpenCV's capture of a device, file or stream.

    Raises:
        RobotError: It cannot be opened.
    """
    cv2 = import_cv2()
    source = settings.source
    if "://" in source:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        limits += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, STREAM_TIMEOUT_MS]
        capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    elif not source.isdecimal() and not Path(source).exists():
        raise RobotError(f"there is no camera {source}; {_devices()}")
    else:
        capture = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not capture.isOpened():
        capture.release()
        raise RobotError(f"camera {source} cannot be opened; {_devices()}")
    if settings.capture_size is not None:
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.capture_size[0])
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.capture_size[1])
    if settings.rate_hz is not None:
        capture.set(cv2.CAP_PROP_FPS, settings.rate_hz)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # where a driver queues frames, none gets old there
    return capture


def _tell_end(source: str, number: int, *, is_file: bool) -> str:
    if is_file:
        return f"the film {source} is over after {number} frames"
    what = "the stream broke off" if "://" in source else "was it unplugged?"
    return f"camera {source} gives no more frames, {number} came; {what}"


def _devices() -> str:
    names = sorted(str(path) for path in Path("/dev").glob("video*"))
    return f"there are {', '.join(names)}" if names else "there is no /dev/video*"
