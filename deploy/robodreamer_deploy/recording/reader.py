"""Reading a log, also one that was cut in the middle or damaged: all that is whole, in order."""

from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.recording.event_stream import Entry
from robodreamer_deploy.recording.exact_json import from_json
from robodreamer_deploy.recording.format import ABOUT, EPISODE, TICK, DamagedError, entry_of
from robodreamer_deploy.recording.log_metadata import About
from robodreamer_deploy.recording.mcap_file import (
    ATTACHMENT,
    CHANNEL,
    DATA_END,
    MESSAGE,
    METADATA,
    Record,
    parse,
    read_channels,
    read_records,
)
from robodreamer_deploy.recording.writer import FACTS, MANIFEST_NAME, SUMMARY, require_mcap

MAX_SENTENCES = 10
"""About damage; what is wrong beyond is counted."""
SENTENCE_LENGTH = 200


class LogReader:
    """One log. What is wrong with it is known when `entries` has come to its end.

    Args:
        path: Of the file.

    Raises:
        RobotError: It is no log, or one that ends before it tells what drove; `mcap` is missing.
    """

    def __init__(self, path: Path) -> None:
        require_mcap()
        self.path = path
        self.damage: list[str] = []
        """What could not be read, as sentences."""
        self.num_dropped = 0
        """Entries that the recorder lost; known at the end of a whole log."""
        self.fault = ""
        """Why a flight recorder wrote this."""
        self.is_whole = False
        """Whether the log was ended by its recorder, and not cut."""
        self.missing: list[str] = []
        """Entries at the beginning or the end that somebody left out, as sentences."""
        self._num_damages = 0
        self._num_entries: int | None = None  # that were written
        self._channels: dict[int, str] = {}
        self.about = self._read_about()

    def entries(self) -> Iterator[Entry]:
        """Yield all whole entries, in the order of the file; start anew at every call."""
        self.damage, self.missing, self._num_damages = [], [], 0
        self.is_whole, self._channels = False, {}
        if self.about.has_other_manifest(sha256(self.about.manifest.encode()).hexdigest()):
            self._complain("the manifest was changed: its checksum differs")
        count = _Count()
        for number, messages in self._groups():
            if why := count.add(number):
                self._complain(why)
            if TICK not in messages and EPISODE not in messages:
                self._complain(f"entry {number} is not whole: it has only {', '.join(messages)}")
                continue
            try:
                yield entry_of(number, messages)
            except DamagedError as error:
                self._complain(f"entry {number} is damaged: {error}")
        self._compare(count)

    def _groups(self) -> Iterator[tuple[int, dict[str, bytes]]]:
        """Yield the messages of each entry by topic; other programs may have put them in order."""
        messages: dict[str, bytes] = {}
        number = -1
        for message in self._messages():
            topic = self._channels.get(message.channel_id, f"channel {message.channel_id}")
            if topic == ABOUT:
                continue
            if message.sequence != number and messages:
                yield number, messages
                messages = {}
            number = message.sequence
            if topic in messages and topic in (TICK, EPISODE):
                self._complain(f"entry {number} has {topic} twice: a copy has lost the numbers")
            messages[topic] = message.data
        if messages:
            yield number, messages

    def _messages(self) -> Iterator[Any]:
        """Yield the message records, and take in what the others tell on the way."""
        for record in read_channels(self.path):
            self._take(record)
        for record in read_records(self.path, self._complain):
            if (message := self._take(record)) is not None:
                yield message

    def _take(self, record: Record) -> Any | None:
        """Take in what a record tells; return it if it is a message."""
        try:
            if record.kind == CHANNEL:
                channel = parse("Channel", record)
                self._channels[channel.id] = channel.topic
            elif record.kind == METADATA:
                self._read_metadata(record)
            elif record.kind == MESSAGE:
                return parse("Message", record)
            elif record.kind == DATA_END:
                self.is_whole = True
        except (KeyError, ValueError) as error:  # a DamagedError is one
            self._complain(f"a record is damaged: {error}")
        return None

    def _complain(self, sentence: str) -> None:
        self._num_damages += 1
        if self._num_damages <= MAX_SENTENCES:
            self.damage.append(shortened(sentence))
        else:
            self.damage[MAX_SENTENCES:] = [f"and {self._num_damages - MAX_SENTENCES} times more"]

    def _compare(self, count: "_Count") -> None:
        """Compare what is there with what was written, where the log tells it."""
        if not self.is_whole or self._num_entries is None or self.damage:
            return
        if count.num_lost > self.num_dropped:
            self._complain(f"{count.num_lost - self.num_dropped} entries in between are not there")
        elif (lacking := self._num_entries - count.num_entries) > 0:
            self.missing.append(f"{lacking} of {self._num_entries} entries were left out")
        elif lacking < 0:
            self._complain(f"{-lacking} entries are there that were not recorded")

    def _read_about(self) -> About:
        try:
            about = self._attached_about() or self._told_about()
        except ValueError as error:
            raise RobotError(f"{self.path} does not tell what drove: {shortened(error)}") from error
        if about is None:
            raise RobotError(f"{self.path} ends before it tells what drove")
        return about

    def _attached_about(self) -> About | None:
        """Return the facts from where they are found without unpacking a chunk."""
        metadata: Mapping[str, str] | None = None
        manifest: str | None = None
        for record in read_records(self.path, lambda _: None, has_chunks=False):
            if record.kind == METADATA and (found := parse("Metadata", record)).name == FACTS:
                metadata = found.metadata
            elif record.kind == ATTACHMENT:
                found = parse("Attachment", record)
                manifest = found.data.decode() if found.name == MANIFEST_NAME else manifest
            if metadata is not None and manifest is not None:
                return About.from_metadata(metadata, manifest)
        return None

    def _told_about(self) -> About | None:
        """Return the facts from their message, which is among the first ones."""
        channels: set[int] = set()
        for record in read_records(self.path, lambda _: None):
            if record.kind == CHANNEL and (channel := parse("Channel", record)).topic == ABOUT:
                channels.add(channel.id)
            if record.kind == MESSAGE and channels:
                message = parse("Message", record)
                if message.channel_id in channels:
                    fields = from_json(message.data)
                    return About.from_metadata(fields, str(fields.pop("manifest", "")))
        return None

    def _read_metadata(self, record: Record) -> None:
        found = parse("Metadata", record)
        if found.name == SUMMARY:
            self.num_dropped = int(found.metadata["dropped"])
            self._num_entries = int(found.metadata["entries"])
            self.fault = shortened(found.metadata["fault"])
        elif found.name == FACTS and found.metadata != self.about.to_metadata():
            self._complain("there are several drives in it; each needs a log of its own")


class _Count:
    """Entries of a log so far, and what is not there between them."""

    def __init__(self) -> None:
        self.num_entries = 0
        self.num_lost = 0
        self._number: int | None = None

    def add(self, number: int) -> str | None:
        """Count an entry; return what is wrong with its place, None if nothing is."""
        before, self._number = self._number, number
        self.num_entries += 1
        if before is None:
            return None
        if number <= before:
            return f"entry {number} comes after entry {before}"
        self.num_lost += number - before - 1
        return None


def shortened(text: object) -> str:
    """Return text as one line that a person can read, however long it was."""
    line = " ".join(str(text)[: 2 * SENTENCE_LENGTH].split())
    return line if len(line) <= SENTENCE_LENGTH else f"{line[: SENTENCE_LENGTH - 3]}..."
