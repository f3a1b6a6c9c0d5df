"""Recording of one drive: the log, if one is wanted, and the flight recorder, always."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robodreamer_deploy.control.events import Listener
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.recording.event_stream import EventStream, Sink
from robodreamer_deploy.recording.flight_recorder import SECONDS, FlightRecorder, default_folder
from robodreamer_deploy.recording.log_metadata import describe_drive
from robodreamer_deploy.recording.recorder import CLOSING_S, Recorder
from robodreamer_deploy.recording.writer import require_mcap
from robodreamer_deploy.utils.streams import Say

SNAPSHOT_S = 1.0
"""Seconds between two snapshots: after a gap in a log, repeating it goes on from the next one."""


class DriveLog:
    """Recorders of one drive, made before the robot is connected."""

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
            loop: Loop whose events are recorded.
            robot: Value of `--robot`.
            options: All options of the command.
            log: File to write; None for the flight recorder alone.
            say: Takes lines for the user.
            flights: Folder of the flight recorder; None for the user's.

        Raises:
            RobotError: The log cannot be written.
        """
        metadata = describe_drive(loop.controller.policy, loop.safety, robot, options)
        now = loop.clock.now
        self._say = say
        self._recorder = None if log is None else Recorder(log, metadata, now=now)
        self._flight = self._make_flight(metadata, now, flights)
        sinks: list[Sink] = [part.put for part in (self._recorder, self._flight) if part]
        self.listener: Listener = EventStream(
            sinks,
            now=now,
            controller=loop.controller.snapshot,
            safety=loop.safety.snapshot,
            ticks_per_snapshot=max(1, round(SNAPSHOT_S / loop.contract.control_dt_s)),
        )
        loop.add_listener(self.listener)

    def close(self, faults: Sequence[str], patience_s: float = CLOSING_S) -> str | None:
        """End the log; write the flight recorder's memory if there were faults, and print its path.

        Args:
            faults: Faults of the drive, as sentences.
            patience_s: Seconds to wait for the disk.

        Returns:
            The reason why the log ends early; None if it does not.
        """
        recorder = self._recorder
        if recorder is not None:
            recorder.close(patience_s)
            counts = f"{recorder.num_written} events, {recorder.num_dropped} lost"
            self._say(f"log         {recorder.path}: {counts}")
        if faults and self._flight is not None:
            self._dump(self._flight, "; ".join(faults))
        return None if recorder is None else recorder.fault

    def _make_flight(self, metadata: Any, now: Any, folder: Path | None) -> FlightRecorder | None:
        try:
            require_mcap()
        except RobotError as error:
            self._say(f"recorder    off: {error}")
            return None
        return FlightRecorder(metadata, now=now, folder=folder)

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
