"""Outcome of a drive, and the lines and the report that are printed and written at its end.

Whatever is wrong with a figure, a log or a report, the last line is printed: whoever stands beside
the robot has to know whether it holds.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from robodreamer_deploy.control.episodes import Episode
from robodreamer_deploy.control.loop import ControlLoop
from robodreamer_deploy.control.realtime import Privilege
from robodreamer_deploy.control.shutdown import MOTORS_ARE_OFF, ShutdownResult, describe_shutdown
from robodreamer_deploy.drive_options import Options
from robodreamer_deploy.drive_summary import (
    format_episodes,
    format_loop,
    summarize_episodes,
    summarize_loop,
)
from robodreamer_deploy.errors import describe_error, full_traceback
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.utils.streams import Say


class Outcome:
    """Outcome of a drive, gathered while it goes on."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []
        self.stop_reason: str | None = None
        self.fault: str | None = None
        self.traceback: str | None = None
        self.privileges: tuple[Privilege, ...] = ()
        self.signal_number: int | None = None
        self.shutdown = ShutdownResult()
        self.log_fault: str | None = None
        self.report_fault: str | None = None

    @property
    def faults(self) -> list[str]:
        """All that went wrong, as sentences."""
        undone = (
            self.shutdown.disconnect_fault and f"disconnecting: {self.shutdown.disconnect_fault}"
        )
        told = (self.fault, undone, self.log_fault, self.report_fault)
        return [fault for fault in told if fault is not None]

    @property
    def exit_code(self) -> int:
        """0 as planned, 1 after a fault, 128 + number after a signal."""
        if self.faults or self.shutdown.hold_fault is not None:
            return 1
        return 0 if self.signal_number is None else 128 + self.signal_number

    def blame(self, where: str, error: BaseException) -> None:
        """Take down a fault; the first one is the cause."""
        if self.fault is None:
            self.fault = f"{where}: {describe_error(error)}"
            self.traceback = full_traceback(error)


@dataclass(frozen=True, kw_only=True)
class Teller:
    """Printer of a drive's progress and outcome; also writes the report."""

    options: Options
    policy: Policy
    loop: ControlLoop
    outcome: Outcome
    say: Say

    def tell(self) -> None:
        """Print how the drive went, and write it where `--report` says."""
        try:
            for line in format_episodes(summarize_episodes(self.outcome.episodes)):
                self.say(line)
            self.tell_loop()
        except Exception as error:  # noqa: BLE001  the last line has to come
            self.outcome.report_fault = f"the figures cannot be told: {describe_error(error)}"
        self.write_report()
        self._tell_ending()

    def tell_loop(self) -> None:
        """Print the figures of the loop so far."""
        for line in format_loop(self._loop_figures, is_paced=not self.options.fast):
            self.say(line)

    def write_report(self) -> None:
        """Write everything as JSON where `--report` says; what cannot be is a fault."""
        path = self.options.report
        if path is None:
            return
        try:
            text = json.dumps(as_json(self._figures), indent=2, allow_nan=False)
            path.write_text(text + "\n", encoding="utf-8")
        except Exception as error:  # noqa: BLE001  the last line has to come
            self.outcome.report_fault = (
                f"--report {path} cannot be written: {describe_error(error)}"
            )
        else:
            self.say(f"report      {path}")

    def tell_episode(self, episode: Episode) -> None:
        """Print one line about an episode that has ended."""
        success = {True: "success", False: "no success", None: ""}[episode.success]
        self.say(
            f"episode {episode.number:<3} seed {episode.seed}, {episode.ticks} ticks, "
            f"return {episode.episode_return:.2f}  {success}".rstrip()
        )

    def _tell_ending(self) -> None:
        outcome = self.outcome
        for fault in outcome.faults:
            self.say(f"FAULT       {fault}")
        ending = describe_shutdown(outcome.shutdown)
        if self.options.dry_run:
            limp = f"; {MOTORS_ARE_OFF}" if outcome.shutdown.is_limp else ""
            ending = f"nothing was commanded{limp}"
        self.say(f"stopped     {outcome.stop_reason or 'by a fault'}; {ending}")

    @property
    def _loop_figures(self) -> dict[str, Any]:
        manifest = self.policy.bundle.manifest
        dt = manifest.contract.control_dt_s
        return summarize_loop(self.loop.stats, dt, manifest.surprise_quantiles)

    @property
    def _figures(self) -> dict[str, Any]:
        options, outcome, manifest = self.options, self.outcome, self.policy.bundle.manifest
        return {
            "policy": str(options.policy),
            "task": manifest.contract.task,
            "run": manifest.run,
            "commit": manifest.commit,
            "robot": options.robot,
            "draw": self.loop.controller.draw,
            "seed": options.seed,
            "is_paced": not options.fast,
            "is_dry_run": options.dry_run,
            "max_age_s": dict(options.max_age),
            "max_speed": options.max_speed,
            "stop_reason": outcome.stop_reason,
            "fault": outcome.fault,
            "fault_traceback": outcome.traceback,
            "hold_fault": outcome.shutdown.hold_fault,
            "disconnect_fault": outcome.shutdown.disconnect_fault,
            "log_fault": outcome.log_fault,
            "real_time": {
                privilege.name: {"is_granted": privilege.is_granted, "detail": privilege.detail}
                for privilege in outcome.privileges
            },
            **summarize_episodes(outcome.episodes),
            **self._loop_figures,
        }


def as_json(value: Any) -> Any:
    """Return figures as JSON can hold them: null where a number is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {key: as_json(item) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [as_json(item) for item in cast("list[Any]", value)]
    return value
