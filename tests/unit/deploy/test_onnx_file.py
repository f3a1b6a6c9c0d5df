"""ONNX files are looked through before onnxruntime gets them: no other files, no loops."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

import toy_policy
from robodreamer_deploy.errors import BundleError
from robodreamer_deploy.policy.bundle import (
    load_bundle,
    write_manifest,
)
from robodreamer_deploy.policy.graph_spec import GRAPHS
from robodreamer_deploy.policy.manifest import METADATA
from robodreamer_deploy.policy.onnx_file import read_onnx
from robodreamer_deploy.policy.onnx_graph import Graph
from robodreamer_deploy.policy.policy import Policy


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_policy.write_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    return shutil.copytree(pristine, tmp_path / "toy")


def move_out(folder: Path, model: onnx.ModelProto, location: str) -> None:
    """Put the weights of a graph into another file."""
    (tensor,) = (t for t in model.graph.initializer if t.name == "mean")
    (folder / location).write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def endless(model: onnx.ModelProto) -> None:
    """Have the action go through a loop of 2^62 turns."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["x"], ["y"])],
        "turn",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    model.graph.node[-1].output[0] = "before"
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 << 62), "turns"))
    model.graph.initializer.append(numpy_helper.from_array(np.ones((), bool), "yes"))
    loop = helper.make_node("Loop", ["turns", "yes", "before"], ["action"], body=body)
    model.graph.node.append(loop)


def set_attribute(model: onnx.ModelProto, tensor: onnx.TensorProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=tensor))


def external() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(3, np.float32), "outside")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def change_kind(model: onnx.ModelProto, kind: str, domain: str) -> None:
    model.graph.node[0].op_type, model.graph.node[0].domain = kind, domain


HOSTILE: dict[str, tuple[Callable[[Path, onnx.ModelProto], object], str]] = {
    "weights in a file beside it": (lambda f, m: move_out(f, m, "mean.bin"), "in another file"),
    "weights in a listed file": (lambda f, m: move_out(f, m, "core.onnx.data"), "in another file"),
    "weights anywhere": (lambda _, m: m.graph.initializer.append(external()), "in another file"),
    "a constant in a file": (lambda _, m: set_attribute(m, external()), "in another file"),
    "a loop without end": (lambda _, m: endless(m), "a loop or a branch"),
    "functions": (lambda _, m: m.functions.add(name="f", domain="x"), "functions of its own"),
    "training": (lambda _, m: m.training_info.add(), "functions of its own"),
    "a strange operator": (lambda _, m: change_kind(m, "Run", "evil"), "operator Run of 'evil'"),
    "a context file": (
        lambda _, m: change_kind(m, "EPContext", "com.microsoft"), "EPContext reads another file"
    ),
    "sparse weights": (lambda _, m: m.graph.sparse_initializer.add(), "sparse tensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["actor.onnx", "policy.onnx"])
@pytest.mark.parametrize("what", HOSTILE)
def test_a_graph_that_reads_other_files_or_never_ends_is_refused_before_it_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    change, words = HOSTILE[what]
    model = onnx.load(folder / name)
    change(folder, model)
    (folder / name).write_bytes(model.SerializeToString())
    write_manifest(folder, toy_policy.make_manifest())  # honest hashes, of all files there are
    monkeypatch.setattr("robodreamer_deploy.policy.onnx_graph._load", None)
    with pytest.raises(BundleError, match=rf"{name} cannot be loaded: .*{words}"):
        load_bundle(folder)
    with pytest.raises(BundleError, match=words):
        Graph(folder / name, toy_policy.make_manifest().graphs[name])


def test_a_file_that_is_not_listed_is_never_opened(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mean.bin").write_bytes(bytes(1000))
    opened: list[str] = []
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: opened.append(path.name) or read(path))
    bundle = load_bundle(folder)
    Policy(bundle)
    assert "mean.bin" not in opened
    assert {*opened} == {*bundle.manifest.files}
    with pytest.raises(BundleError, match=r"lists no mean\.bin"):
        bundle.read("mean.bin")


def test_a_file_that_changes_after_it_was_checked_is_not_used(folder: Path) -> None:
    bundle = load_bundle(folder)
    content = bytearray((folder / "actor.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "actor.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=r"actor\.onnx has been changed"):
        Policy(bundle)


def test_what_onnx_writes_is_read(pristine: Path) -> None:
    for name in GRAPHS:
        model = onnx.load(pristine / name)
        metadata = {entry.key: entry.value for entry in model.metadata_props}
        assert read_onnx((pristine / name).read_bytes()).metadata == metadata
        assert METADATA in metadata


@pytest.mark.parametrize(
    "content",
    [
        b"", b"garbage", b"\x08", b"\x3a\xff\xff\xff\xff\x0f", b"\x3b\x3c", b"\xff" * 20,
        b"\x38\x01", struct.pack("<I", 24) + b"ORTM" + bytes(40), b"\x3a\x00\x3a\x00",
        b"\x72\x04\x0a\x02\xff\xfe\x3a\x00",
    ],
)  # fmt: skip
def test_bytes_that_are_no_graph_are_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"it (is|holds)|utf-8"):
        read_onnx(content)


@given(data=st.data())
def test_damage_is_refused_in_words_or_harmless(pristine: Path, data: st.DataObject) -> None:
    content = bytearray((pristine / "actor.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_onnx(bytes(content[: data.draw(st.integers(0, len(content)))]))
    except ValueError:
        return
