"""Damaged bundles: whatever was done to a file, it is refused in words, or drives as before.

The damage is sealed again with honest hashes, as if an exporter had written it: what lies behind
the hashes must not trust them.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import toy_policy
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    REQUIRED_FILES,
    load_bundle,
    write_manifest,
)
from robodreamer_deploy.policy.controller import Controller
from robodreamer_deploy.policy.describe import describe
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.manifest import MANIFEST
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden

Damage = Callable[[bytes], bytes]
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, 2**200, 1e308, 0.5])
JUNK = NUMBERS | st.none() | st.booleans() | st.text(max_size=4) | st.just([]) | st.just({})


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@st.composite
def damages(draw: st.DrawFn) -> Damage:
    """Draw something to do to the bytes of a file."""
    kind = draw(st.sampled_from(["cut", "flip", "insert", "zero", "repeat"]))
    place, length = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(1, 64))
    junk = draw(st.binary(min_size=1, max_size=16))

    def damage(content: bytes) -> bytes:
        i = int(place * len(content))
        before, hit, after = content[:i], content[i : i + length], content[i + length :]
        return {
            "cut": before,
            "flip": before + bytes(byte ^ junk[0] for byte in hit) + after,
            "insert": before + junk + hit + after,
            "zero": before + bytes(len(hit)) + after,
            "repeat": before + hit + hit + after,
        }[kind]

    return damage


def drive(folder: Path) -> None:
    """Do everything that comes before a robot moves, and one step.

    Raises:
        BundleError: The only error there may be.
    """
    bundle = load_bundle(folder)
    describe(bundle.manifest)
    policy = Policy(bundle)
    replay_golden(policy, load_golden(bundle))
    blank = {s.name: np.zeros(s.shape, s.dtype) for s in bundle.contract.inputs}
    Controller(policy).step(blank, is_first=True)


def refused_or_driven(folder: Path) -> bool:
    try:
        drive(folder)
    except BundleError:
        return False
    return True


@given(name=st.sampled_from(REQUIRED_FILES), damage=damages())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_damaged_file_is_refused_in_words_or_drives(
    pristine: Path, tmp_path_factory: pytest.TempPathFactory, name: str, damage: Damage
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "toy"
    shutil.copytree(pristine, folder)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(damage(content))
    is_changed = (folder / name).read_bytes() != content
    assert refused_or_driven(folder) != is_changed, "a wrong hash is always refused"
    write_manifest(folder, toy_policy.make_manifest())
    refused_or_driven(folder)
    shutil.rmtree(folder)


@given(data=st.data())
def test_a_manifest_with_junk_in_it_is_refused_in_words_or_drives(
    pristine: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("junk") / "toy"
    shutil.copytree(pristine, folder)
    content = json.loads((folder / MANIFEST).read_text())
    node: Any = content
    key: Any = data.draw(st.sampled_from(sorted(content)))
    while isinstance(node[key], (dict, list)) and node[key] and data.draw(st.booleans()):
        node = node[key]
        keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
    if data.draw(st.booleans()):
        del node[key]
    else:
        node[key] = data.draw(JUNK)
    (folder / MANIFEST).write_text(json.dumps(content))
    refused_or_driven(folder)
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["golden.npz", "initial.npz"])
def test_a_file_that_unpacks_to_far_more_is_refused_before_it_does(
    pristine: Path, tmp_path: Path, name: str
) -> None:
    folder = shutil.copytree(pristine, tmp_path / "toy")
    arrays = dict(np.load(folder / name))
    arrays["deter"] = np.zeros((1, 1 << 23), np.float32)  # 33 MB, a few kB when packed
    np.savez_compressed(folder / name, **arrays)
    write_manifest(folder, toy_policy.make_manifest())
    with pytest.raises(BundleError, match=r"unpacks to 33\d{6} bytes"):
        drive(folder)
