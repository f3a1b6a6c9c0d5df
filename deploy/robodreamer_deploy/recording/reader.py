"""Reader of a log, which may be cut or damaged: all events that are whole, in order."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.exact_json import from_json
from robodreamer_deploy.recording.format import DamagedError, from_messages
from robodreamer_deploy.recording.log_metadata import LogMetadata
from robodreamer_deploy.recording.mcap_file import read_records, read_topics
from robodreamer_deploy.recording.schemas import ABOUT, EPISODE, TICK
from robodreamer_deploy.recording.writer import FACTS, MANIFEST_NAME, SUMMARY, require_mcap

if TYPE_CHECKING:
    from mcap.records import Message, Metadata

MAX_SENTENCES = 10
"""Sentences about damage; further damage is counted."""
SENTENCE_LENGTH = 200


class LogReader:
    """Log on disk. Its damage is known when `events` has come to its end.

    Args:
        path: Path of the file.

    Raises:
        RobotError: It is no log, a log of another version, or one that ends before it names its
            policy; or `mcap` is missing.
    """

    def __init__(self, path: Path) -> None:
        require_mcap()
        self.path = path
        self.damage: list[str] = []
        """Sentences about everything that could not be read."""
        self.num_dropped = 0
        """Events that the recorder lost; known at the end of a whole log."""
        self.fault = ""
        """Reason why a flight recorder wrote this log."""
        self.is_whole = False
        """Whether the recorder ended the log; otherwise it was cut."""
        self.missing: list[str] = []
        """Sentences about events at the beginning or the end that a copy left out."""
        self._num_damages = 0
        self._num_events: int | None = None  # that were written
        self._topics: dict[int, str] = {}  # by channel
        self.metadata = self._read_log_metadata()

    def events(self) -> Iterator[LogEvent]:
        """Yield all whole events, in the order of the file; every call starts at its beginning."""
        self.damage, self.missing, self._num_damages = [], [], 0
        self.is_whole, self._topics = False, read_topics(self.path)
        if self.metadata.has_other_manifest(sha256(self.metadata.manifest.encode()).hexdigest()):
            self._complain("the manifest was changed: its checksum differs")
        count = _Count()
        for number, messages in self._groups():
            if why := count.add(number):
                self._complain(why)
            if TICK not in messages and EPISODE not in messages:
                self._complain(f"event {number} is not whole: it has only {', '.join(messages)}")
                continue
            try:
                yield from_messages(number, messages)
            except DamagedError as error:
                self._complain(f"event {number} is damaged: {error}")
        self._compare(count)

    def _groups(self) -> Iterator[tuple[int, dict[str, bytes]]]:
        """Yield the messages of each event by topic; other programs may have sorted them."""
        messages: dict[str, bytes] = {}
        number = -1
        for message in self._messages():
            topic = self._topics.get(message.channel_id, f"channel {message.channel_id}")
            if topic == ABOUT:
                continue
            if message.sequence != number and messages:
                yield number, messages
                messages = {}
            number = message.sequence
            if topic in messages and topic in (TICK, EPISODE):
                self._complain(f"event {number} has {topic} twice: a copy has lost the numbers")
            messages[topic] = message.data
        if messages:
            yield number, messages

    def _messages(self) -> Iterator["Message"]:
        """Yield the messages, and keep the facts that the other records hold."""
        from mcap.records import Channel, DataEnd, Message, Metadata

        for record in read_records(self.path, self._complain):
            match record:
                case Message():
                    yield record
                case Channel():
                    self._topics[record.id] = record.topic
                case Metadata():
                    self._read_metadata(record)
                case DataEnd():
                    self.is_whole = True
                case _:
                    pass

    def _complain(self, sentence: str) -> None:
        self._num_damages += 1
        if self._num_damages <= MAX_SENTENCES:
            self.damage.append(shortened(sentence))
        else:
            self.damage[MAX_SENTENCES:] = [f"and {self._num_damages - MAX_SENTENCES} times more"]

    def _compare(self, count: "_Count") -> None:
        """Compare the events that are there with the count that the recorder wrote, if it did."""
        if not self.is_whole or self._num_events is None or self.damage:
            return
        if count.num_lost > self.num_dropped:
            self._complain(f"{count.num_lost - self.num_dropped} events in between are not there")
        elif (lacking := self._num_events - count.num_events) > 0:
            self.missing.append(f"{lacking} of {self._num_events} events were left out")
        elif lacking < 0:
            self._complain(f"{-lacking} events are there that were not recorded")

    def _read_log_metadata(self) -> LogMetadata:
        try:
            metadata = self._find_log_metadata()
        except ValueError as error:
            raise RobotError(f"{self.path} cannot be read: {shortened(error)}") from error
        if metadata is None:
            raise RobotError(f"{self.path} ends before it names its policy")
        return metadata

    def _find_log_metadata(self) -> LogMetadata | None:
        """Return the first metadata of a drive: records at the start, or the message in a copy."""
        from mcap.records import Attachment, Channel, Message, Metadata

        facts: Mapping[str, str] | None = None
        manifest: str | None = None
        topics: dict[int, str] = {}
        for record in read_records(self.path, lambda _: None):
            match record:
                case Metadata(name=name) if name == FACTS:
                    facts = record.metadata
                case Attachment(name=name) if name == MANIFEST_NAME:
                    manifest = record.data.decode()
                case Channel():
                    topics[record.id] = record.topic
                case Message(channel_id=channel) if topics.get(channel) == ABOUT:
                    facts = from_json(record.data)
                    manifest = str(facts.pop("manifest", ""))
                case _:
                    pass
            if facts is not None and manifest is not None:
                return LogMetadata.from_fields(facts, manifest)
        return None

    def _read_metadata(self, record: "Metadata") -> None:
        if record.name == SUMMARY:
            try:
                self.num_dropped = int(record.metadata["dropped"])
                self._num_events = int(record.metadata["events"])
                self.fault = shortened(record.metadata["fault"])
            except (KeyError, ValueError) as error:
                self._complain(f"a record is damaged: {error}")
        elif record.name == FACTS and record.metadata != self.metadata.to_fields():
            self._complain("there are several drives in it; each needs a log of its own")


class _Count:
    """Count of a log's events, and of the gaps between them."""

    def __init__(self) -> None:
        self.num_events = 0
        self.num_lost = 0
        self._number: int | None = None

    def add(self, number: int) -> str | None:
        """Count an event; return a sentence if it is out of order."""
        before, self._number = self._number, number
        self.num_events += 1
        if before is None:
            return None
        if number <= before:
            return f"event {number} comes after event {before}"
        self.num_lost += number - before - 1
        return None


def shortened(text: object) -> str:
    """Return text as one line of at most `SENTENCE_LENGTH` characters."""
    line = " ".join(str(text)[: 2 * SENTENCE_LENGTH].split())
    return line if len(line) <= SENTENCE_LENGTH else f"{line[: SENTENCE_LENGTH - 3]}..."
