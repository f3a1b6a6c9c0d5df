"""Writer of a log: MCAP, in chunks that are compressed each on its own.

A flush ends the chunk in progress: a file that is cut afterwards is readable up to there.
"""

import time
from typing import BinaryIO

from robodreamer_deploy.control.events import Tick
from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.exact_json import encodable, to_json
from robodreamer_deploy.recording.format import WallClock, to_messages
from robodreamer_deploy.recording.foxglove_messages import NamedSignals
from robodreamer_deploy.recording.log_metadata import LogMetadata
from robodreamer_deploy.recording.schemas import ABOUT, SCHEMA_OF, schema_bytes

CHUNK_BYTES = 1 << 20  # a chunk ends when it holds as much, or at a flush
FACTS, SUMMARY = "robodreamer", "robodreamer.summary"  # names of metadata records
MANIFEST_NAME = "manifest.json"


def require_mcap() -> None:
    """Check that logs can be written and read.

    Raises:
        RobotError: The package `mcap` is missing.
    """
    try:
        import mcap  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError as error:
        raise RobotError("logs need the package mcap: pip install 'robodreamer[log]'") from error


class LogWriter:
    """Writer of one log to a stream, which it does not close."""

    def __init__(self, stream: BinaryIO, metadata: LogMetadata, clock: WallClock) -> None:
        from mcap.writer import CompressionType, Writer

        self._clock = clock
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[str, int] = {}
        self.num_events = 0
        """Events that were written."""
        self.num_unfit = 0
        """Events that have no form as messages, and are left out."""
        self.problem: str | None = None
        """Sentence about the first one of those."""
        self._named = NamedSignals(metadata.parse_manifest())
        self._log_ns = -1
        # Measured on frames of 64 x 64: zstd takes half the room of lz4, at 0.1 ms a frame.
        self._writer = Writer(stream, CHUNK_BYTES, CompressionType.ZSTD, enable_data_crcs=True)
        self._writer.start(profile="", library="robodreamer")
        now_ns = time.time_ns()
        self._metadata = metadata
        self._writer.add_metadata(FACTS, metadata.to_fields())
        self._writer.add_attachment(
            now_ns, now_ns, MANIFEST_NAME, "application/json", metadata.manifest.encode()
        )

    def write(self, event: LogEvent) -> None:
        """Write all messages of an event, or none if one of them has no form.

        Raises:
            OSError: The disk is full or failed.
        """
        try:
            messages = list(to_messages(event, self._clock, self._named))
        except Exception as error:  # noqa: BLE001  one odd value must not cost all that follows
            self.num_unfit += 1
            self.problem = (
                self.problem or f"event {event.number} is left out: {describe_error(error)}"
            )
            return
        log_ns = self._log_time(event)
        if not self.num_events:
            self._repeat_metadata(log_ns)
        for topic, schema, time_s, content in messages:
            channel = self._channel(topic, schema)
            publish_ns = min(self._clock(time_s), log_ns)
            self._writer.add_message(channel, log_ns, content, publish_ns, event.number)
        self.num_events += 1

    def flush(self) -> None:
        """End the chunk in progress and pass everything to the operating system.

        Raises:
            OSError: The disk is full or failed.
        """
        self._writer.flush()

    def finish(self, num_dropped: int, fault: str = "") -> None:
        """Write the counts, and the indexes that make a log quick to open.

        Args:
            num_dropped: Events that were lost on the way here.
            fault: Reason for the log, where that is a fault.

        Raises:
            OSError: The disk is full or failed.
        """
        dropped = num_dropped + self.num_unfit
        counts = {"events": str(self.num_events), "dropped": str(dropped)}
        self._writer.add_metadata(SUMMARY, {**counts, "fault": encodable(fault)})
        self._writer.finish()

    def _repeat_metadata(self, log_ns: int) -> None:
        """Write the metadata as a message, too: `mcap filter` copies nothing but messages."""
        content = to_json({**self._metadata.to_fields(), "manifest": self._metadata.manifest})
        channel = self._channel(ABOUT, SCHEMA_OF[ABOUT])
        self._writer.add_message(channel, log_ns, content, log_ns)

    def _log_time(self, event: LogEvent) -> int:
        """Return the log time of an event, which grows with each: readers sort by it."""
        time_s = event.time_s
        if isinstance(event.payload, Tick):
            time_s += event.payload.sense_to_act_s  # all was measured before the command went out
        self._log_ns = max(self._clock(time_s), self._log_ns + 1)
        return self._log_ns

    def _channel(self, topic: str, schema: str) -> int:
        """Return the channel of a topic; one whose schema changes has several."""
        if (topic, schema) not in self._channels:
            if schema not in self._schemas:
                self._schemas[schema] = self._writer.register_schema(
                    schema, "jsonschema", schema_bytes(schema)
                )
            self._channels[topic, schema] = self._writer.register_channel(
                topic, "json", self._schemas[schema]
            )
        return self._channels[topic, schema]
