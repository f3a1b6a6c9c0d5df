"""All that is recorded of one drive: the log, if one is wanted, and the flight recorder, always."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from robodreamer_deploy.control.events import Listener
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.recording.event_stream import Sink, Tape
from robodreamer_deploy.recording.flight_recorder import SECONDS, FlightRecorder, default_folder
from robodreamer_deploy.recording.log_metadata import about_drive
from robodreamer_deploy.recording.recorder import CLOSING_S, Recorder
from robodreamer_deploy.recording.writer import require_mcap

STATE_S = 1.0
"""Seconds between two states in a log."""

Say = Callable[[str], None]


class DriveLog:
    """Records what a loop tells; made before the robot is connected."""

    def __init__(
        self,
        loop: ControlLoop,
        robot: str,
        options: Mapping[str, Any],
        *,
        log: Path | None,
        say: Say,
        flights: Path | None = None,
    ) -> None:
        """Begin to record.

        Args:
            loop: Whose drive it is.
            robot: As given to `--robot`.
            options: All that was asked for.
            log: File to write; None for the flight recorder alone.
            say: Tells what is recorded, and what is not.
            flights: Folder of the flight recorder; None for the user's.

        Raises:
            RobotError: The log cannot be written.
        """
        about = about_drive(loop.controller.policy, loop.safety, robot, options)
        now = loop.clock.now
        self._say = say
        self._recorder = None if log is None else Recorder(log, about, now=now)
        self._flight = self._make_flight(about, now, flights)
        sinks: list[Sink] = [part.put for part in (self._recorder, self._flight) if part]
        self.listener: Listener = Tape(
            sinks,
            now=now,
            controller=loop.controller.snapshot,
            safety=loop.safety.snapshot,
            ticks_per_state=max(1, round(STATE_S / loop.contract.control_dt_s)),
        )
        loop.add_listener(self.listener)

    def close(self, faults: Sequence[str], patience_s: float = CLOSING_S) -> str | None:
        """End the log, and keep the last seconds if something went wrong; tell where they are.

        Args:
            faults: What went wrong.
            patience_s: How long to wait for the disk.

        Returns:
            Why the log ends early; None if it does not.
        """
        recorder = self._recorder
        if recorder is not None:
            recorder.close(patience_s)
            counts = f"{recorder.num_written} entries, {recorder.num_dropped} lost"
            self._say(f"log         {recorder.path}: {counts}")
        if faults and self._flight is not None:
            self._dump(self._flight, "; ".join(faults))
        return None if recorder is None else recorder.fault

    def _make_flight(self, about: Any, now: Any, folder: Path | None) -> FlightRecorder | None:
        try:
            require_mcap()
        except RobotError as error:
            self._say(f"recorder    off: {error}")
            return None
        return FlightRecorder(about, now=now, folder=folder)

    def _dump(self, flight: FlightRecorder, fault: str) -> None:
        try:
            path = flight.dump(fault)
        except Exception as error:  # noqa: BLE001  the figures and the last line come after this
            self._say(
                f"recorder    the last {SECONDS:g} s cannot be written: {describe_error(error)}"
            )
        else:
            if path is not None:
                self._say(f"recorder    the last {SECONDS:g} s are in {path}")
                if default_folder() != path.parent:
                    self._say("recorder    this user has no home that can be written to: move it")
