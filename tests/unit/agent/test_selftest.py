"""The golden self-test notices a wrong weight in every graph that is shipped, choices included."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from exported import CONTRACTS, Exported, Initializer, corrupt, initializers, seal
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    load_bundle,
    write_manifest,
)
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.policy.selftest import replay_golden


def self_test(folder: Path) -> None:
    """Do as every start does."""
    bundle = load_bundle(folder)
    replay_golden(Policy(bundle), load_golden(bundle))


def weights(folder: Path, graph: str) -> Iterator[Initializer]:
    """Yield the weights of a graph, without the constants of its operators."""
    for tensor in initializers(folder):
        if tensor.graph == graph and tensor.array.dtype == np.float32 and tensor.array.size > 2:
            yield tensor


@pytest.mark.parametrize(
    ("name", "graph"),
    [("discrete", "actor.onnx"), ("discrete", "policy.onnx"), ("vectors only", "rssm_step.onnx")],
)
def test_a_wrong_weight_with_an_honest_hash_is_refused(
    exported_toy: Callable[[str], Exported], tmp_path: Path, name: str, graph: str
) -> None:
    exported = exported_toy(name)
    sealed = seal(exported, tmp_path / "sealed")
    self_test(sealed)
    wrong = [tensor.name for tensor in weights(sealed, graph)]
    assert len(wrong) >= 4
    for tensor in wrong:
        corrupt(sealed, tmp_path / "wrong", graph, tensor)
        for file in ("golden.npz", "initial.npz"):
            shutil.copy(sealed / file, tmp_path / "wrong")
        write_manifest(tmp_path / "wrong", exported.manifest)
        with pytest.raises(BundleError, match=f"golden self-test: {graph}"):
            self_test(tmp_path / "wrong")


def test_what_a_choice_was_made_from_is_recorded_and_compared(
    exported_toy: Callable[[str], Exported], tmp_path: Path
) -> None:
    sealed = seal(exported_toy("discrete"), tmp_path / "sealed")
    golden = load_golden(load_bundle(sealed))
    assert golden.action_logits is not None
    chosen = (golden.action_logits + golden.noise_action).argmax(-1)
    np.testing.assert_array_equal(golden.action.argmax(-1), chosen)
    assert CONTRACTS["discrete"].action.kind == "discrete"
    bundle = load_bundle(seal(exported_toy("vectors only"), tmp_path / "continuous"))
    assert load_golden(bundle).action_logits is None
