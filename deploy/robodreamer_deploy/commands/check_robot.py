"""`robodreamer-deploy check-robot POLICY --robot SPEC`: does this robot keep its promises?"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from robodreamer_deploy.bundle.bundle import load_bundle
from robodreamer_deploy.commands.arguments import POLICY, ROBOTS
from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.driving.leaving import within
from robodreamer_deploy.driving.watchdog import Watchdog, end_process
from robodreamer_deploy.faults import HungError, sentence
from robodreamer_deploy.robots.conformance import CHECKS, Finding, Specimen, examine
from robodreamer_deploy.robots.loading import load_robot

CHECK_WITHIN_S = 30.0
"""How long a check may take, connecting included, before it is broken off."""


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    result = argparse.ArgumentParser(
        prog="robodreamer-deploy check-robot",
        description="Ask a robot for all that driving relies on, without moving it.",
    )
    result.add_argument("policy", type=Path, help=POLICY)
    result.add_argument("--robot", required=True, metavar="SPEC", help=ROBOTS)
    return result


def run(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Examine the robot; return the exit code, as `check_robot` does."""
    return check_robot(arguments.policy, arguments.robot, say)


def check_robot(policy: Path, robot: str, say: Callable[[str], None]) -> int:
    """Examine a robot for a policy; say what came of every check; return the exit code.

    The robot is connected and told to hold, again and again; it is sent nothing that moves it.

    Raises:
        BundleError: The policy cannot be read.
        RobotError: The robot is unknown or cannot be made.
    """
    contract = load_bundle(policy).contract
    load_robot(robot, contract).disconnect()  # what cannot be made is told once, not by each check
    specimen = Specimen(lambda: load_robot(robot, contract), contract)
    findings = _examine(specimen, say)
    broken = [finding.name for finding in findings if finding.fault is not None]
    if broken:
        say(f"not ready   {robot} breaks {len(broken)} of {len(CHECKS)} promises")
        return 1
    with specimen.connected() as connected:
        for line in _describe(connected.get_observation(), contract):
            say(f"measures    {line}")
    say(f"ready       {robot} keeps what was asked of it; begin with --dry-run")
    return 0


def _examine(specimen: Specimen, say: Callable[[str], None]) -> list[Finding]:
    """Say what came of every check; one that hangs is broken off."""

    def give_up(reason: str, _is_held: bool) -> None:
        end_process(lambda: say(f"BROKEN      {reason}"), 1)

    findings: list[Finding] = []
    watchdog = Watchdog(look_s=CHECK_WITHIN_S, give_up=give_up)
    with watchdog:
        for name in CHECKS:
            try:
                with within(watchdog, CHECK_WITHIN_S, "the robot"):
                    finding = examine(name, specimen)
            except HungError as error:  # it came back, but too late
                finding = Finding(name, sentence(error), None)
            say(_format(finding))
            findings.append(finding)
    return findings


def _describe(observation: Mapping[str, Array], contract: Contract) -> Iterator[str]:
    """Yield every signal's value in words, to be compared with the robot as it stands there."""
    for signal in contract.inputs:
        if signal.name not in observation:
            yield f"{signal.name}: nothing yet"
        elif signal.is_image:
            picture = observation[signal.name]
            yield f"{signal.name}: {signal.shape}, from {picture.min()} to {picture.max()}"
        else:
            labels = signal.labels or tuple(str(i) for i in range(signal.num_elements))
            pairs = zip(labels, observation[signal.name].ravel(), strict=True)
            yield f"{signal.name}: " + ", ".join(
                f"{k} {v:.4g} {signal.unit}".rstrip() for k, v in pairs
            )


def _format(finding: Finding) -> str:
    verdict = "BROKEN" if finding.fault is not None else "skipped" if finding.skipped else "ok"
    promise = (CHECKS[finding.name].__doc__ or "").strip()
    return f"{verdict:<11} {finding.name}: {finding.fault or finding.skipped or promise}"
