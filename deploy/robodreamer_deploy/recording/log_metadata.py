"""Facts of a drive that its log holds beside the events: policy, options, limits, versions."""

import dataclasses
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robodreamer_deploy.control.enable_switch import IsEnabled
from robodreamer_deploy.control.limits import Limits
from robodreamer_deploy.control.safety import Safety, StartupProfile, Writable
from robodreamer_deploy.policy.bundle import MANIFEST
from robodreamer_deploy.policy.manifest import Manifest
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.providers import import_onnxruntime
from robodreamer_deploy.recording.exact_json import encodable, pack, unpack
from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record

LOG_VERSION = 2


@dataclass(frozen=True, kw_only=True)
class LogMetadata:
    """Facts of one drive."""

    manifest: str
    """Text of the policy's manifest.json."""
    manifest_sha256: str
    """Checksum of the manifest's bytes; the manifest holds those of all other files."""
    robot: str
    """Value of `--robot`."""
    options: Mapping[str, Any]
    """All options of the command line, as JSON values."""
    safety: Mapping[str, Any]
    """Limits in the policy's units, warm-up and ramp of the drive."""
    versions: Mapping[str, str]
    """Versions of python, numpy and onnxruntime, and the machine's type."""

    def parse_manifest(self) -> Manifest:
        """Return the manifest.

        Raises:
            ValueError: This release does not read it.
        """
        return Manifest.from_json(self.manifest)

    def has_other_manifest(self, sha256: str) -> bool:
        """Return whether the drive had a manifest with another checksum than this one."""
        return bool(self.manifest_sha256) and self.manifest_sha256 != sha256

    def to_fields(self) -> dict[str, str]:
        """Return everything but the manifest as text by name, the form of metadata in MCAP."""
        return {
            "log_version": str(LOG_VERSION),
            "manifest_sha256": self.manifest_sha256,
            "robot": encodable(self.robot),
            "options": json.dumps(self.options, allow_nan=False),
            "safety": json.dumps(self.safety, allow_nan=False),
            "versions": json.dumps(self.versions),
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, str], manifest: str) -> "LogMetadata":
        """Invert `to_fields`.

        Raises:
            ValueError: The log is of another version, or a field is missing or malformed.
        """
        values: dict[str, Any] = dict(fields)
        if (version := values.pop("log_version", None)) != str(LOG_VERSION):
            raise ValueError(f"log version {version}; this release reads {LOG_VERSION}")
        for name in ("options", "safety", "versions"):
            values[name] = read_object(parse_json(values.get(name, "")), name)
        return read_record(cls, {**values, "manifest": manifest}, "log")


class ManifestText(NamedTuple):
    """Manifest as it stands in its file."""

    text: str
    sha256: str


def read_manifest(folder: Path) -> ManifestText:
    """Return the manifest of a policy that has been loaded."""
    content = (folder / MANIFEST).read_bytes()
    return ManifestText(content.decode(), sha256(content).hexdigest())


def describe_drive(
    policy: Policy, safety: Safety, robot: str, options: Mapping[str, Any]
) -> LogMetadata:
    """Return the facts of a drive that is about to begin; options that are paths become text."""
    manifest = read_manifest(policy.bundle.folder)
    return LogMetadata(
        manifest=manifest.text,
        manifest_sha256=manifest.sha256,
        robot=robot,
        options=pack(json.loads(json.dumps(options, default=str))),
        safety=pack(safety.limits._asdict() | dataclasses.asdict(safety.startup)),
        versions=versions(),
    )


def logged_safety(metadata: LogMetadata, robot: Writable, is_enabled: IsEnabled) -> Safety:
    """Return the safety of a logged drive, with its limits, for another robot.

    Raises:
        ValueError: The log does not hold the limits.
    """
    fields = unpack(metadata.safety)
    contract = metadata.parse_manifest().contract
    try:
        limits = Limits(*(np.array(fields[name], np.float64) for name in Limits._fields))
        startup = StartupProfile(
            warm_up_ticks=int(fields["warm_up_ticks"]), ramp_s=float(fields["ramp_s"])
        )
        return Safety(
            robot,
            contract.action,
            control_dt_s=contract.control_dt_s,
            limits=limits,
            startup=startup,
            is_enabled=is_enabled,
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise ValueError(f"the log does not hold the limits of its drive: {error!r}") from error


def versions() -> dict[str, str]:
    """Return the versions that the bits of a computation depend on."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": str(import_onnxruntime().__version__),
        "machine": platform.machine(),
        "system": platform.system(),
    }
