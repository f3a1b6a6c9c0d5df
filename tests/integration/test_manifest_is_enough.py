"""A policy can be driven by whoever has onnxruntime, numpy and its manifest: nothing else is used.

Nothing here comes from this project's packages, on purpose. Graphs, tensors, the way values take
from one to the next and into the next step, and the noise are read from `manifest.json`.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

BUNDLED = Path(__file__).parents[2] / "policies" / "fetch_reach"
Values = dict[str, Any]
SEQUENCES = ("three graphs", "split", "one graph")


class Driver:
    """Runs whole steps, as the manifest says."""

    def __init__(self, folder: Path, sequence: str) -> None:
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.graphs = [
            self.manifest["graphs"][name] for name in self.manifest["sequences"][sequence]
        ]
        self.sessions = [
            onnxruntime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
            for name in self.manifest["sequences"][sequence]
        ]
        initial = np.load(folder / "initial.npz")
        self.state = {"deter": initial["deter"], "stoch": initial["stoch"]}
        self.state["action_previous"] = initial["action"]

    def step(self, values: Values) -> Values:
        """Return all values of a step from those that it begins with."""
        known = dict(values)
        for graph, session in zip(self.graphs, self.sessions, strict=True):
            feeds = {t["name"]: known[t["value"]] for t in graph["inputs"]}
            outputs = session.run([t["name"] for t in graph["outputs"]], feeds)
            known |= {t["value"]: o for t, o in zip(graph["outputs"], outputs, strict=True)}
        return known

    def drive(self, shown: Values, noise: Values, *, is_first: bool) -> Values:
        """Step from the state that is carried, and carry on."""
        done = self.step(shown | noise | self.state | {"is_first": np.array([is_first])})
        self.state = {new: done[old] for old, new in self.manifest["feedback"].items()}
        return done


def shape_of(manifest: dict[str, Any], value: str) -> tuple[int, ...]:
    graphs = manifest["graphs"].values()
    tensors = [t for graph in graphs for t in (*graph["inputs"], *graph["outputs"])]
    return next(tuple(t["shape"]) for t in tensors if t["value"] == value)


def made_up(manifest: dict[str, Any], generator: np.random.Generator) -> tuple[Values, Values]:
    """Return an observation within its limits, and noise of the kind that is asked for."""
    shown: Values = {}
    for signal in manifest["contract"]["observations"]:
        if signal["name"].startswith("privileged/"):
            continue
        shape = (1, *signal["shape"])
        if signal["dtype"] == "uint8":
            shown[signal["name"]] = generator.integers(0, 256, shape, np.uint8)
        else:
            values = generator.uniform(signal["low"], signal["high"], shape)
            shown[signal["name"]] = values.astype(signal["dtype"])
    noise = {
        name: getattr(generator, kind)(size=shape_of(manifest, name)).astype(np.float32)
        for name, kind in manifest["noise"].items()
    }
    return shown, noise


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_every_golden_step_comes_out_of_every_sequence(sequence: str) -> None:
    driver, golden = Driver(BUNDLED, sequence), np.load(BUNDLED / "golden.npz")
    steps = {name.removeprefix("observation/"): golden[name] for name in golden.files}
    compared = set()
    for i in range(len(golden["is_first"])):
        expected = {name: values[i : i + 1] for name, values in steps.items()}
        signals = {name for name in expected if "/" in name}
        begin = signals | {*driver.manifest["noise"], *driver.manifest["feedback"].values()}
        done = driver.step({name: expected[name] for name in (*begin, "is_first")})
        for name in done.keys() & expected.keys() - begin:
            np.testing.assert_allclose(done[name], expected[name], atol=1e-4, rtol=1e-4)
            compared.add(name)
    assert {"deter_next", "stoch_next", "prior", "posterior", "action"} <= compared


@pytest.mark.parametrize("num_steps", [50, pytest.param(250, marks=pytest.mark.slow)])
def test_all_sequences_drive_alike(num_steps: int) -> None:
    drivers = [Driver(BUNDLED, sequence) for sequence in SEQUENCES]
    generator = np.random.default_rng(0)
    for i in range(num_steps):
        shown, noise = made_up(drivers[0].manifest, generator)
        first, *others = [d.drive(shown, noise, is_first=i % 40 == 0) for d in drivers]
        for other in others:
            np.testing.assert_array_equal(other["stoch_next"], first["stoch_next"])
            np.testing.assert_allclose(other["action"], first["action"], atol=1e-4)
    assert [*drivers[0].manifest["sequences"]] == [*SEQUENCES]


def test_a_step_without_an_observation_takes_the_priors_draw() -> None:
    driver = Driver(BUNDLED, "split")
    shown, noise = made_up(driver.manifest, np.random.default_rng(0))
    begin = shown | noise | driver.state | {"is_first": np.array([True])}
    done = driver.step(begin)
    ((drawn, place),) = driver.manifest["dream"].items()
    assert done[drawn].shape == done[place].shape
    scores = done["prior"] + noise["noise_stoch"]
    np.testing.assert_array_equal(done[drawn].argmax(-1), scores.argmax(-1))


def test_every_hash_and_size_is_the_files() -> None:
    manifest = json.loads((BUNDLED / "manifest.json").read_text())
    assert {*manifest["files"], "manifest.json"} == {path.name for path in BUNDLED.iterdir()}
    for name, record in manifest["files"].items():
        content = (BUNDLED / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (*record.values(),)


def test_every_graph_carries_the_manifest() -> None:
    manifest = json.loads((BUNDLED / "manifest.json").read_text())
    for name in manifest["graphs"]:
        session = onnxruntime.InferenceSession(BUNDLED / name, providers=["CPUExecutionProvider"])
        carried = json.loads(session.get_modelmeta().custom_metadata_map["robodreamer.manifest"])
        assert carried == manifest | {"files": {}}


def test_actions_can_be_turned_into_actuator_values() -> None:
    manifest = json.loads((BUNDLED / "manifest.json").read_text())
    action, scale = manifest["contract"]["action"], manifest["action_map"]
    for i in range(action["size"]):
        assert scale["offset"][i] - scale["scale"][i] == action["low"][i]
        assert scale["offset"][i] + scale["scale"][i] == action["high"][i]


def test_nothing_of_this_project_was_needed() -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]\n"
        "import test_manifest_is_enough as check\n"
        "for sequence in check.SEQUENCES:\n"
        "    check.test_every_golden_step_comes_out_of_every_sequence(sequence)\n"
        "assert not [name for name in sys.modules if name.startswith('robodreamer')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
