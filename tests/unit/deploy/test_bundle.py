"""The bundle: exact, and nothing in it is believed before it was checked."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    MAX_MANIFEST_BYTES,
    REQUIRED_FILES,
    Carry,
    load_bundle,
    write_initial,
    write_manifest,
)
from robodreamer_deploy.policy.describe import describe
from robodreamer_deploy.policy.golden import load_golden
from robodreamer_deploy.policy.manifest import (
    MAX_FILE_BYTES,
    METADATA,
    DrawResult,
    FileRecord,
    Manifest,
)
from toy_policy import GOLDEN_STEPS, A, D, K, S, make_golden, make_manifest, make_weights, reseal
from toy_policy import write_bundle as write_toy

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=8)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "toy")


def edit(folder: Path, change: Callable[..., Any]) -> None:
    """Rewrite the manifest after `change` has had its way with the JSON values."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@given(
    draws=st.dictionaries(
        st.sampled_from(["mode", "sample"]),
        st.builds(
            DrawResult,
            num_episodes=st.integers(0, 100),
            return_mean=FLOATS,
            return_std=FLOATS,
            success_rate=st.none() | FLOATS,
        ),
    ),
    quantiles=st.dictionaries(TEXT, FLOATS, max_size=3),
    files=st.dictionaries(
        st.from_regex(r"[a-z]{1,8}\.onnx", fullmatch=True),
        st.builds(FileRecord, size=st.integers(0, MAX_FILE_BYTES), sha256=TEXT),
        max_size=3,
    ),
    words=st.tuples(TEXT, TEXT, TEXT, TEXT),
)
def test_json_gives_back_exactly_the_same_manifest(
    draws: dict[str, DrawResult],
    quantiles: dict[str, float],
    files: dict[str, FileRecord],
    words: str,
) -> None:
    version, created, run, commit = words
    manifest = dataclasses.replace(
        make_manifest(), draws=draws, surprise_quantiles=quantiles, files=files,
        robodreamer_version=version, created=created, run=run, commit=commit,
    )  # fmt: skip
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(st.data())
def test_a_manifest_with_one_wrong_value_never_raises_anything_but_value_error(
    data: st.DataObject,
) -> None:
    content = json.loads(make_manifest().to_json())
    node, key = content, data.draw(st.sampled_from(sorted(content)))
    while isinstance(node[key], (dict, list)) and node[key] and data.draw(st.booleans()):
        node = node[key]
        keys = sorted(node) if isinstance(node, dict) else range(len(node))
        key = data.draw(st.sampled_from(list(keys)))
    node[key] = data.draw(JSON_VALUES)
    try:
        manifest = Manifest.from_json(json.dumps(content))
    except ValueError:
        return
    assert Manifest.from_json(manifest.to_json()) == manifest


@given(st.binary(max_size=200))
def test_arbitrary_bytes_for_a_manifest_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("garbage")
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(folder)


def test_what_was_written_is_what_is_loaded(pristine: Path) -> None:
    bundle = load_bundle(pristine)
    assert dataclasses.replace(bundle.manifest, files={}) == make_manifest()
    assert sorted(bundle.manifest.files) == sorted(REQUIRED_FILES)
    assert [array.shape for array in bundle.initial] == [(D,), (S, K), (A,)]
    golden, expected = load_golden(bundle), make_golden(make_weights())
    assert len(golden) == GOLDEN_STEPS
    for field in dataclasses.fields(golden):
        np.testing.assert_equal(getattr(golden, field.name), getattr(expected, field.name))


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Manifest)])
def test_every_field_of_the_manifest_is_required(folder: Path, field: str) -> None:
    edit(folder, lambda content: content.pop(field))
    with pytest.raises(BundleError, match="format" if field == "format_version" else field):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(colour="red"), "manifest has unknown fields: colour"),
        (lambda c: c.update(format_version=3), "bundle format 3; .* reads 4: export the run again"),
        (lambda c: c.update(format_version=5), "bundle format 5; this release reads 4"),
        (lambda c: c["contract"].update(version=9), "contract version 9"),
        (lambda c: c.update(contract=3), "contract is 3, expected an object"),
        (lambda c: c.update(token_size=0), "token_size is 0"),
        (lambda c: c.update(token_size=1 << 40), "token_size is"),
        (lambda c: c["contract"]["observations"][0].update(rate_hz=0.0), "rate_hz of 0.0"),
        (lambda c: c["contract"]["observations"][0].update(max_age_s=-1.0), "max_age_s of -1.0"),
        (lambda c: c["state"].update(deter=[-1]), r"deter of shape \(-1,\)"),
        (lambda c: c["state"].update(stoch=[3]), "expected 2 values"),
        (lambda c: c["contract"]["observations"][1].update(shape=[1 << 20] * 3), "image/eye"),
        (lambda c: c["draws"].update(guess=c["draws"]["mode"]), "unknown draws .*mode, sample"),
        (lambda c: c.update(default_draw="best"), "expected 'mode' or 'sample'"),
        (lambda c: c["feedback"].update(stoch_next="deter"), "feedback is not what follows"),
        (lambda c: c["noise"].update(noise_stoch="normal"), "noise_stoch is normal, .* gumbel"),
        (lambda c: c["noise"].update(noise_action="gumbel"), "is gumbel, .* normal or uniform"),
        (
            lambda c: c["noise"].update(noise_action="cauchy"),
            "'cauchy', expected 'gumbel' or",
        ),
        (
            lambda c: c["noise"].pop("noise_action"),
            r"noise has \['noise_stoch'\], expected .*action",
        ),
        (lambda c: c["state"].update(family="gaussian"), r"shape \(3, 4\); each is one number"),
        (lambda c: c["state"].update(family="poisson"), "'categorical' or 'gaussian'"),
        (lambda c: c["sequences"].update(other=[]), "sequences is not what follows"),
        (lambda c: c["graphs"]["core.onnx"]["inputs"].pop(), "graphs is not what follows"),
        (lambda c: c["action_map"].update(scale=[1.0, 1.0]), "action_map is not what follows"),
        (lambda c: c["pinholes"]["image/eye"].update(fx=1.0), "pinholes is not what follows"),
        (lambda c: c["files"]["actor.onnx"].update(size=1 << 60), "actor.onnx of 1152921504606"),
        (lambda c: c["files"].pop("actor.onnx"), "lists no actor.onnx"),
        (lambda c: c["files"].update({"../x": c["files"]["actor.onnx"]}), "leaves the bundle"),
        (lambda c: c["files"].update({"/etc/x": c["files"]["actor.onnx"]}), "leaves the bundle"),
        (lambda c: c["files"].update({"..": c["files"]["actor.onnx"]}), "leaves the bundle"),
        (lambda c: c["files"].update({"a\\b": c["files"]["actor.onnx"]}), "leaves the bundle"),
        (lambda c: c["files"].update({"manifest.json": c["files"]["actor.onnx"]}), "leaves"),
        (lambda c: c["files"].update({"more.onnx": c["files"]["actor.onnx"]}), "more.onnx is mis"),
        (lambda c: c["files"]["actor.onnx"].update(size=3), "bytes, the manifest says 3"),
        (lambda c: c["files"]["actor.onnx"].update(sha256="00"), "actor.onnx has been changed"),
    ],
)
def test_a_tampered_manifest_is_refused_in_words(
    folder: Path, change: Callable[..., Any], words: str
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=words):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda c: c["contract"].update(control_dt_s=0.01),
            "control_dt_s is 0.01, .* 0.02",
        ),
        (lambda c: c["contract"].update(task="other"), "contract.task is 'other', .* 'toy_reach'"),
        (
            lambda c: c["contract"]["observations"][0].update(max_age_s=3.0),
            r"contract.observations\[0\].max_age_s is 3.0, .* None",
        ),
        (
            lambda c: c["contract"]["action"].update(labels=["y", "x"]),
            r"contract.action.labels\[0\] is 'y', .* 'x'",
        ),
        (lambda c: c.update(default_draw="sample"), "default_draw is 'sample', .* 'mode'"),
        (
            lambda c: c["contract"].update(delays_s={}),
            r"contract.delays_s.action is nothing, .* \[0.0, 0.02\]",
        ),
        (lambda c: c["surprise_quantiles"].update({"0.99": 9.0}), "surprise_quantiles.0.99 is 9.0"),
        (lambda c: c.update(run="another"), "run is 'another', .* 'toy'"),
        (lambda c: c["draws"]["mode"].update(success_rate=1.0), "draws.mode.success_rate is 1.0"),
    ],
)
def test_a_manifest_that_says_otherwise_than_the_graphs_is_refused(
    folder: Path, change: Callable[..., Any], words: str
) -> None:
    edit(folder, change)
    with pytest.raises(BundleError, match=words) as caught:
        load_bundle(folder)
    assert "export the run again" in str(caught.value)


def test_one_graph_of_another_export_is_noticed(folder: Path, tmp_path: Path) -> None:
    other = write_toy(tmp_path / "other")
    reseal(other, dataclasses.replace(make_manifest(), run="other"))
    load_bundle(other)
    shutil.copy(other / "policy.onnx", folder)
    write_manifest(folder, make_manifest())
    with pytest.raises(BundleError, match=r"run is 'toy', policy\.onnx was exported with 'other'"):
        load_bundle(folder)


def test_a_graph_without_a_manifest_is_refused(folder: Path) -> None:
    for text, words in ((None, "carries no manifest"), ("{", "carries a manifest that cannot")):
        model = onnx.load(folder / "prior.onnx")
        onnx.helper.set_model_props(model, {} if text is None else {METADATA: text})
        (folder / "prior.onnx").write_bytes(model.SerializeToString())
        write_manifest(folder, make_manifest())
        with pytest.raises(BundleError, match=rf"prior\.onnx {words}"):
            load_bundle(folder)


@pytest.mark.parametrize("period_s", [1e-9, 9.9e-4, 10.1, 1e6])
def test_a_period_at_which_no_robot_is_driven_is_refused(folder: Path, period_s: float) -> None:
    edit(folder, lambda content: content["contract"].update(control_dt_s=period_s))
    with pytest.raises(
        BundleError, match=r"a control period of .* s; robots are driven with 0.001"
    ):
        load_bundle(folder)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_one_flipped_bit_in_any_file_is_noticed(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name} has been changed"):
        load_bundle(folder)


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_truncated_or_missing_file_is_noticed(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    with pytest.raises(BundleError, match=f"{name} has .* bytes, the manifest says"):
        load_bundle(folder)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(folder)


def test_a_link_out_of_the_folder_is_refused(folder: Path, pristine: Path) -> None:
    (folder / "actor.onnx").unlink()
    (folder / "actor.onnx").symlink_to(pristine / "actor.onnx")
    with pytest.raises(BundleError, match="leads out of the folder"):
        load_bundle(folder)


def test_a_missing_policy_names_its_neighbours_closest_first(folder: Path, pristine: Path) -> None:
    shutil.copytree(pristine, folder.parent / "walker")
    with pytest.raises(BundleError, match=r"there is no policy folder .*has toy, walker"):
        load_bundle(folder.parent / "toyy")
    with pytest.raises(BundleError, match=r"no policy folder /nowhere/at/all$"):
        load_bundle(type(folder)("/nowhere/at/all"))


def test_a_folder_that_is_no_policy_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no exported policy"):
        load_bundle(tmp_path)
    (tmp_path / "manifest.json").write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))
    with pytest.raises(BundleError, match="no manifest is that long"):
        load_bundle(tmp_path)


def test_an_initial_state_of_another_shape_is_refused(folder: Path) -> None:
    write_initial(folder, Carry(np.zeros(D + 1), np.zeros((S, K)), np.zeros(A)))
    write_manifest(folder, make_manifest())
    with pytest.raises(BundleError, match=r"deter is float64 \(1, 9\), expected float32 \(1, 8\)"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: {"action": g.action[:, :1]}, r"action is float32 \(32, 1\)"),
        (lambda g: {"tokens": g.tokens.astype(np.float64)}, "tokens is float64"),
        (lambda g: {"deter": np.full_like(g.deter, np.nan)}, "deter is not finite"),
        (lambda g: {"is_first": g.is_first[:0]}, "has 0 steps"),
        (lambda g: {"observations": {}}, "holds .*expected .*observation/goal/target"),
    ],
)
def test_a_golden_sequence_of_another_kind_is_refused(
    folder: Path, change: Callable[..., Any], words: str
) -> None:
    golden = make_golden(make_weights())
    dataclasses.replace(golden, **change(golden)).save(folder / "golden.npz")
    write_manifest(folder, make_manifest())
    with pytest.raises(BundleError, match=words):
        load_golden(load_bundle(folder))


def test_a_golden_file_that_is_none_is_refused(folder: Path) -> None:
    (folder / "golden.npz").write_bytes(b"PK\x03\x04 not a zip file at all")
    write_manifest(folder, make_manifest())
    with pytest.raises(BundleError, match="no readable golden sequence"):
        load_golden(load_bundle(folder))


def test_a_bundle_is_sealed_only_when_it_is_complete(folder: Path) -> None:
    (folder / "encoder.onnx").unlink()
    with pytest.raises(BundleError, match=r"lacks encoder\.onnx"):
        write_manifest(folder, make_manifest())


def test_a_policy_can_be_described(pristine: Path) -> None:
    text = "\n".join(describe(load_bundle(pristine).manifest))
    for words in ("toy_reach", "50 Hz", "image/eye uint8 (8, 6, 3)", "x: -0.1 .. 0.1 m", "0.800"):
        assert words in text
    assert "privileged" not in text
