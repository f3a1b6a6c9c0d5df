"""Writing a log: MCAP, in chunks that are compressed each on its own.

A chunk is ended whenever the log is flushed; of a file that was cut only the last one suffers.
"""

import time
from typing import BinaryIO

from robodreamer_deploy.control.events import Tick
from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.recording.event_stream import Entry
from robodreamer_deploy.recording.exact_json import encodable, to_json
from robodreamer_deploy.recording.format import ABOUT, WallClock, messages_of
from robodreamer_deploy.recording.log_metadata import About
from robodreamer_deploy.recording.named_signals import CALIBRATION, NamedSignals
from robodreamer_deploy.recording.raw_image import is_picture
from robodreamer_deploy.recording.schemas import CAMERA, NAMES, PICTURE, SIGNAL, schema_bytes

CHUNK_BYTES = 1 << 20
FACTS, SUMMARY = "robodreamer", "robodreamer.summary"
MANIFEST_NAME = "manifest.json"


def require_mcap() -> None:
    """Refuse to go on where logs cannot be written or read.

    Raises:
        RobotError: The package `mcap` is missing.
    """
    try:
        import mcap  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise RobotError("logs need the package mcap: pip install 'robodreamer[log]'") from error


class LogWriter:
    """Writes one log to a stream, which it does not close."""

    def __init__(self, stream: BinaryIO, about: About, clock: WallClock) -> None:
        from mcap.writer import CompressionType, Writer

        self._clock = clock
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[str, int] = {}
        self.num_entries = 0
        """Entries that were written."""
        self.num_unfit = 0
        """Entries that cannot be told as messages, and are left out."""
        self.problem: str | None = None
        """What is wrong with the first one of those."""
        self._named = NamedSignals(about.contract_manifest())
        self._log_ns = -1
        # Measured on frames of 64 x 64: zstd takes half the room of lz4, at 0.1 ms a frame.
        self._writer = Writer(stream, CHUNK_BYTES, CompressionType.ZSTD, enable_data_crcs=True)
        self._writer.start(profile="", library="robodreamer")
        now_ns = time.time_ns()
        self._about = about
        self._writer.add_metadata(FACTS, about.to_metadata())
        self._writer.add_attachment(
            now_ns, now_ns, MANIFEST_NAME, "application/json", about.manifest.encode()
        )

    def write(self, entry: Entry) -> None:
        """Write all messages of an entry, or none of one that cannot be told.

        Raises:
            OSError: The disk is full or failed.
        """
        try:
            messages = list(messages_of(entry, self._clock, self._named))
        except Exception as error:  # noqa: BLE001  one odd value must not cost all that follows
            self.num_unfit += 1
            self.problem = (
                self.problem or f"entry {entry.number} is left out: {describe_error(error)}"
            )
            return
        log_ns = self._log_time(entry)
        if not self.num_entries:
            self._repeat_about(log_ns)
        for topic, time_s, content in messages:
            channel = self._channel(topic, self._schema_name(topic, entry))
            publish_ns = min(self._clock(time_s), log_ns)
            self._writer.add_message(channel, log_ns, content, publish_ns, entry.number)
        self.num_entries += 1

    def flush(self) -> None:
        """Hand all that was written to the operating system.

        Raises:
            OSError: The disk is full or failed.
        """
        self._writer.flush()

    def finish(self, num_dropped: int, fault: str = "") -> None:
        """Write what was counted, and the indexes that make a log quick to open.

        Args:
            num_dropped: Entries that were lost on the way here.
            fault: Why the log was written, if not for its own sake.

        Raises:
            OSError: The disk is full or failed.
        """
        dropped = num_dropped + self.num_unfit
        counts = {"entries": str(self.num_entries), "dropped": str(dropped)}
        self._writer.add_metadata(SUMMARY, {**counts, "fault": encodable(fault)})
        self._writer.finish()

    def _repeat_about(self, log_ns: int) -> None:
        """Write the facts as a message, too: programs that copy logs leave out the other places."""
        content = to_json({**self._about.to_metadata(), "manifest": self._about.manifest})
        channel = self._channel(ABOUT, NAMES[ABOUT])
        self._writer.add_message(channel, log_ns, content, log_ns)

    def _log_time(self, entry: Entry) -> int:
        """Return when an entry was told, later than the one before, so that none are mixed up."""
        time_s = entry.time_s
        if isinstance(entry.event, Tick):
            time_s += entry.event.sense_to_act_s  # all was measured before the robot was told
        self._log_ns = max(self._clock(time_s), self._log_ns + 1)
        return self._log_ns

    def _schema_name(self, topic: str, entry: Entry) -> str:
        if topic in NAMES:
            return NAMES[topic]
        if topic.startswith(CALIBRATION):
            return CAMERA
        assert isinstance(entry.event, Tick), entry
        return PICTURE if is_picture(entry.event.observation[topic[1:]]) else SIGNAL

    def _channel(self, topic: str, schema: str) -> int:
        """Return the channel of a topic; one that changes what it is has several."""
        if (topic, schema) not in self._channels:
            if schema not in self._schemas:
                self._schemas[schema] = self._writer.register_schema(
                    schema, "jsonschema", schema_bytes(schema)
                )
            self._channels[topic, schema] = self._writer.register_channel(
                topic, "json", self._schemas[schema]
            )
        return self._channels[topic, schema]
