"""Report of a replay: `robodreamer-deploy POLICY --replay LOG`."""

from collections.abc import Mapping
from pathlib import Path

from robodreamer_deploy.errors import BundleError, RobotError
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording.log_metadata import LogMetadata, read_manifest, versions
from robodreamer_deploy.recording.reader import LogReader, shortened
from robodreamer_deploy.recording.replay import Replay, ReplayResult
from robodreamer_deploy.utils.streams import Say

SAME, DIFFERENT = 0, 1


def replay_log(policy: Policy, log: Path, say: Say) -> int:
    """Repeat a log and print the result.

    Returns:
        Exit code: 0 if everything is the same, 1 if something differs or cannot be read.

    Raises:
        RobotError: The file is no log, or nothing in it can be repeated.
    """
    reader = LogReader(log)
    for line in _compare(policy, reader.metadata):
        say(f"log         {line}")
    try:
        result = Replay(policy, reader.metadata).run(reader.events())
    except (ValueError, BundleError) as error:
        _print_log(reader, say)
        raise RobotError(f"{log} cannot be repeated: {shortened(error)}") from error
    _print_log(reader, say)
    if not result.num_repeated and result.difference is None:
        raise RobotError(f"{log} holds no tick that can be repeated")
    is_same = _print_result(result, say)
    return SAME if is_same and not reader.damage else DIFFERENT


def _print_log(reader: LogReader, say: Say) -> None:
    if reader.fault:
        say(f"log         written because of: {reader.fault}")
    for line in reader.damage:
        say(f"DAMAGED     {line}")
    for line in reader.missing:
        say(f"part        {line}")
    if reader.num_dropped:
        say(f"lost        {reader.num_dropped} events, when it was recorded")


def _compare(policy: Policy, metadata: LogMetadata) -> list[str]:
    """Return lines about the differences from the machine and the policy of the log."""
    lines = [shortened(f"recorded with {metadata.robot}, {_listed(metadata.versions)}")]
    here = versions()
    others = [name for name in here if here[name] != metadata.versions.get(name)]
    lines += [f"here {name} is {here[name]}: the last bits may differ" for name in others]
    if read_manifest(policy.bundle.folder).sha256 != metadata.manifest_sha256:
        lines.append("the policy is another one than in the log")
    return lines


def _print_result(result: ReplayResult, say: Say) -> bool:
    if result.num_unknown:
        say(f"unknown     {result.num_unknown} ticks, before which something is missing")
    repeated = f"{result.num_repeated} of {result.num_ticks} ticks"
    if result.difference is None:
        say(f"the same    {repeated}, bit for bit")
        return True
    say(f"the same    {repeated}, before the first that differs")
    say(f"DIFFERENT   {shortened(result.difference)}")
    return False


def _listed(words: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {word}" for name, word in words.items())
