"""Copies of logs as other programs make them: repacked, in part, or in another order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mcap.reader import make_reader
from mcap.writer import CompressionType, Writer

Change = Callable[[str, dict[str, Any]], dict[str, Any] | None]


def copy_log(
    source: Path,
    target: Path,
    change: Change = lambda _, fields: fields,
    *,
    compression: CompressionType = CompressionType.LZ4,
    chunk_bytes: int = 20_000,
    has_facts: bool = True,
    has_numbers: bool = True,
) -> Path:
    """Copy a log, with metadata and attachments at its end, and return the copy's path.

    Args:
        source: A log.
        target: File to write.
        change: Returns the new fields of a message of a topic; None leaves it out.
        compression: Of the chunks.
        chunk_bytes: Size of a chunk.
        has_numbers: Whether messages keep their sequence numbers.
        has_facts: Whether metadata and attachments are copied, which `mcap filter` does not.
    """
    with source.open("rb") as read, target.open("wb") as written:
        reader = make_reader(read)
        writer = Writer(written, chunk_bytes, compression)
        writer.start()
        ids: dict[int, int] = {}
        for schema, channel, message in reader.iter_messages():
            fields = change(channel.topic, json.loads(message.data))
            if fields is None:
                continue
            if channel.id not in ids:
                assert schema is not None
                own = writer.register_schema(schema.name, schema.encoding, schema.data)
                ids[channel.id] = writer.register_channel(channel.topic, "json", own)
            writer.add_message(
                ids[channel.id], message.log_time, json.dumps(fields).encode(),
                message.publish_time, message.sequence if has_numbers else 0,
            )  # fmt: skip
        for attachment in reader.iter_attachments() if has_facts else ():
            writer.add_attachment(0, 0, attachment.name, attachment.media_type, attachment.data)
        for metadata in reader.iter_metadata() if has_facts else ():
            writer.add_metadata(metadata.name, metadata.metadata)
        writer.finish()
    return target
