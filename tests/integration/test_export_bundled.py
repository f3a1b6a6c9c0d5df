"""The policy that lies in the repository still does what it is there for.

It is driven in the documentation, in the proof of the wheel and by whoever tries this first. A
change of the task or of the format leaves it behind; then it has to be trained again.
"""

import dataclasses
import shutil
from pathlib import Path

import pytest
from train_runs import ROOT

from robodreamer.export.folder import stamp
from robodreamer_deploy.drive import load_policy
from robodreamer_deploy.errors import BundleError, RobotError
from robodreamer_deploy.policy.bundle import (
    load_bundle,
    write_manifest,
)
from robodreamer_deploy.robots.base import (
    check_features,
)
from robodreamer_sim.robots.in_process import make_robot

TASK = "fetch_reach"
BUNDLED = ROOT / "policies" / TASK


def require_fit(folder: Path) -> None:
    """Fail unless `robodreamer-deploy` would drive the task as it is now with a policy."""
    try:
        contract = load_policy(folder, lambda _: None).bundle.contract
        robot = make_robot(TASK, contract)
        check_features(robot, contract)
    except (BundleError, RobotError) as error:
        pytest.fail(
            f"{error}. The bundled policy is left behind: train {TASK} again and export a new one, "
            f"`robodreamer export RUN --out policies/{TASK}`, with its figures in RESULTS.md"
        )
    try:
        robot.connect()
        contract.check(robot.get_observation(), inputs_only=True)
    finally:
        robot.disconnect()


def test_the_bundled_policy_passes_its_self_test_and_fits_its_task() -> None:
    require_fit(BUNDLED)
    assert load_bundle(BUNDLED).contract.task == TASK
    assert sum(path.stat().st_size for path in BUNDLED.iterdir()) < 7_000_000


def test_a_task_that_has_changed_asks_for_a_new_policy(tmp_path: Path) -> None:
    folder = shutil.copytree(BUNDLED, tmp_path / TASK)
    manifest = load_bundle(folder).manifest
    contract = dataclasses.replace(manifest.contract, control_dt_s=0.2)
    manifest = dataclasses.replace(manifest, contract=contract)
    stamp(folder, manifest)
    write_manifest(folder, manifest)
    with pytest.raises(pytest.fail.Exception, match=r"expected 0\.2\. .* export a new one"):
        require_fit(folder)


def test_a_damaged_policy_asks_for_a_new_one(tmp_path: Path) -> None:
    folder = shutil.copytree(BUNDLED, tmp_path / TASK)
    manifest = load_bundle(folder).manifest
    (folder / "encoder.onnx").write_bytes((folder / "actor.onnx").read_bytes())
    write_manifest(folder, manifest)
    with pytest.raises(pytest.fail.Exception, match=r"encoder\.onnx has the inputs .* a new one"):
        require_fit(folder)
