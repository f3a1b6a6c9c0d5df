"""`robodreamer-deploy POLICY --replay LOG`: would this policy, here, do the same again?"""

from collections.abc import Callable, Mapping
from pathlib import Path

from robodreamer_deploy.errors import BundleError, RobotError
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording.log_metadata import About, policy_manifest, versions
from robodreamer_deploy.recording.reader import LogReader, shortened
from robodreamer_deploy.recording.replay import Replay, Replayed

Say = Callable[[str], None]

SAME, DIFFERENT = 0, 1


def replay_log(policy: Policy, log: Path, say: Say) -> int:
    """Repeat a log and say what came of it.

    Returns:
        The exit code: 0 if all of it is the same, 1 if something differs or cannot be read.

    Raises:
        RobotError: It is no log, or nothing in it can be repeated.
    """
    reader = LogReader(log)
    for line in _compare(policy, reader.about):
        say(f"log         {line}")
    try:
        result = Replay(policy, reader.about).run(reader.entries())
    except (ValueError, BundleError) as error:
        _tell_log(reader, say)
        raise RobotError(f"{log} cannot be repeated: {shortened(error)}") from error
    _tell_log(reader, say)
    if not result.num_repeated and result.difference is None:
        raise RobotError(f"{log} holds no tick that can be repeated")
    is_same = _tell(result, say)
    return SAME if is_same and not reader.damage else DIFFERENT


def _tell_log(reader: LogReader, say: Say) -> None:
    if reader.fault:
        say(f"log         written because of: {reader.fault}")
    for line in reader.damage:
        say(f"DAMAGED     {line}")
    for line in reader.missing:
        say(f"part        {line}")
    if reader.num_dropped:
        say(f"lost        {reader.num_dropped} entries, when it was recorded")


def _compare(policy: Policy, about: About) -> list[str]:
    """Return in what this machine and this policy are not those of the log."""
    lines = [shortened(f"recorded with {about.robot}, {_listed(about.versions)}")]
    here = versions()
    others = [name for name in here if here[name] != about.versions.get(name)]
    lines += [f"here {name} is {here[name]}: the last bits may differ" for name in others]
    if policy_manifest(policy.bundle.folder).sha256 != about.manifest_sha256:
        lines.append("the policy is another one than in the log")
    return lines


def _tell(result: Replayed, say: Say) -> bool:
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
