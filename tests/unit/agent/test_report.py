"""The page about a run: self-contained, with the figures as they were measured."""

import base64
import html
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodreamer.cli.main import main, prepare
from robodreamer.evaluation.random_policy import RandomPolicy, random_score
from robodreamer.evaluation.scores import read_evaluation
from robodreamer.runs.run_folder import read_run
from robodreamer_deploy.contract import ActionSpec
from toy_run import STEP, TASK, make_run

DRIVE = {
    "task": TASK, "draw": "mode", "is_paced": False, "num_episodes": 50, "return_mean": -3.25,
    "success_rate": 0.94, "success_interval_95": [0.838, 0.979], "ticks": 150, "skipped_ticks": 2,
    "held_ticks": 0, "sense_to_act_ms": {"p50": 1.234, "p99": 2.5, "max": 3.75},
    "policy_ms": {"p50": 0.5, "p99": 0.6, "max": 0.7},
    "lateness_ms": {"p50": 0.0, "p99": 0.0, "max": 0.0},
    "surprise_nats": {"p50": 4.0, "p99": 5.0, "max": 6.0}, "limits": {"range": 7},
    "bad_observations": {},
}  # fmt: skip


PLOTS = ("learning.png", "learning-narrow.png", "losses.png", "losses-narrow.png")


class Outline(HTMLParser):
    """Parser that collects the sources and cells of a page, and checks that its tags match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sources: list[str] = []
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [v or "" for k, v in attrs if k in {"src", "srcset", "href", "poster"}]
        assert tag not in {"script", "link", "iframe", "object"}
        if tag not in {"meta", "img", "source"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] in (["td"], ["th"], ["b"]):
            self.cells.append(data)


def summary(success: float) -> dict[str, Any]:
    return {"episodes": 50.0, "return": -4.0, "success": success, "success_low": 0.8,
            "success_high": 0.97}  # fmt: skip


def write_json(path: Path, data: dict[str, Any]) -> Path:
    path.write_text(json.dumps(data))
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("report") / "toy")
    assert main(["dream", str(run)]) == 0
    return run


def test_a_run_on_a_busy_processor_has_a_warning_beside_its_results(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path / "toy")
    line = json.dumps({"step": 120, "minutes": 2.0, "processor_share": 0.3})
    (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text() + line + "\n")
    assert main(["report", str(run), "--note", "much less than usual"]) == 0
    text = (run / "report.html").read_text()
    assert "Warning: much less than usual" in text
    assert "Warning: other processes kept the processor busy: this run got 30% of" in text
    assert text.index("Warning: other") < text.index("What the policy does")


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("figures")
    evaluation = {"policy": "x: torch", "task": TASK, "blank": [], "draws": {"mode": summary(0.9)}}
    blanked = {**evaluation, "blank": ["image/camera"], "draws": {"mode": summary(0.12)},
               "randomize": "mild"}  # fmt: skip
    words = [
        "report", str(run), "--out", str(folder / "page.html"),
        "--drive", str(write_json(folder / "drive.json", DRIVE)),
        "--evaluation", str(write_json(folder / "a.json", evaluation)),
        str(write_json(folder / "b.json", blanked)),
    ]  # fmt: skip
    assert main(words) == 0
    return (folder / "page.html").read_text()


def test_the_page_loads_nothing(page: str) -> None:
    outline = Outline(page)
    assert len(outline.sources) >= 6
    assert all(
        source.startswith(("data:image/png;", "data:video/mp4;")) for source in outline.sources
    )
    visible = re.sub(r"data:[a-z/0-9]+;base64,[A-Za-z0-9+/=]+", "", page)
    assert not re.search(r"https?:|//|url\(|@import", visible)
    assert "default-src 'none'" in page


def test_videos_and_pictures_are_embedded_bit_by_bit(run: Path, page: str) -> None:
    inside = {base64.b64decode(source.partition("base64,")[2]) for source in Outline(page).sources}
    names = ["episode.mp4", "dream.mp4", "dream.png", "signals.png"]
    expected = [run / "videos" / f"step-{STEP:09d}-{name}" for name in names]
    expected += [run / "plots" / name for name in PLOTS]
    assert inside == {path.read_bytes() for path in expected}


def test_a_narrow_screen_gets_narrow_pictures_and_lists_of_results(run: Path, page: str) -> None:
    narrow = base64.b64encode((run / "plots" / "learning-narrow.png").read_bytes()).decode()
    assert f'<source media="(max-width: 40rem)" srcset="data:image/png;base64,{narrow}">' in page
    # every result carries the name of its column, which the list below a row's name shows
    assert '<td data-name="success">90%</td>' in page
    assert "scroll" not in page.partition("</style>")[2]


def test_scores_stand_with_their_intervals(page: str) -> None:
    cells = Outline(page).cells
    for name, success, interval, mean in (
        ("after training, torch, mode", "90%", "80% to 97%", "-4.0"),
        (
            "after training, torch, mode, camera camera black, randomised: mild",
            "12%",
            "80% to 97%",
            "-4.0",
        ),
        ("after training, ONNX, onboard loop, mode", "94%", "84% to 98%", "-3.2"),
    ):
        at = cells.index(name)
        assert cells[at + 1 : at + 5] == [success, interval, mean, "50"]
    assert "before training: random actions" in cells
    assert "94%" in cells[:4]  # in large letters, first of all
    tile = re.search(r"<div class=tile><b>94%</b>(.*?)</div>", page)
    assert tile is not None
    assert tile[1].endswith("(95 % interval 84% to 98%)")


def test_latency_and_limits_stand_as_they_were_measured(page: str) -> None:
    cells = Outline(page).cells
    assert cells[cells.index("sense to act") + 1] == "median 1.23, 99 % 2.50, most 3.75 ms"
    assert cells[cells.index("of that, the policy") + 1].startswith("median 0.50,")
    assert cells[cells.index("lateness") + 1] == "-"  # unpaced, it cannot be late
    assert cells[cells.index("skipped") + 1] == "2"
    assert cells[cells.index("limits applied") + 1] == "range 7"


def test_the_page_names_task_machine_and_signals(run: Path, page: str) -> None:
    _, contract, origin = read_run(run)
    cells = Outline(page).cells
    assert cells[cells.index("task") + 1] == TASK
    assert cells[cells.index("machine") + 1] == origin["machine"]
    assert cells[cells.index("steps, updates") + 1] == "120, 20"
    assert all(signal.name in cells for signal in contract.observations)


def test_a_run_without_videos_names_the_command_that_makes_some(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy")
    assert main(["report", str(run)]) == 0
    assert f"robodreamer dream {run}" in (run / "report.html").read_text()


def test_a_film_without_cameras_is_described_as_what_it_shows(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy", observe="proprio")
    (run / "videos").mkdir()
    for name in ("dream.mp4", "signals.png"):
        (run / "videos" / f"step-{STEP:09d}-{name}").write_bytes(name.encode())
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "What was measured, and what the model expected" in page
    assert "what the camera saw" not in page
    assert base64.b64encode(b"dream.mp4").decode() in page


def test_a_run_that_was_not_inspected_names_the_command(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy")
    assert main(["report", str(run)]) == 0
    assert f"<pre>robodreamer inspect {run}</pre>" in (run / "report.html").read_text()


def test_an_inspection_is_part_of_the_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy", observe="proprio")
    assert main(["inspect", str(run), "--episodes", "1"]) == 0
    assert main(["report", str(run)]) == 0
    text = (run / "report.html").read_text()
    outline = Outline(text)
    inside = {base64.b64decode(source.partition("base64,")[2]) for source in outline.sources}
    for name in ("inspection.png", "inspection-narrow.png"):
        assert (run / "plots" / name).read_bytes() in inside
    assert "robodreamer inspect" not in text
    found = json.loads((run / "plots" / "inspection.json").read_text())
    assert {words for pair in found["figures"] for words in pair if words} <= {*outline.cells}
    for module in found["modules"]:
        assert f"{module['parameters']:,}" in outline.cells
    assert "at step 120 on 4 new steps" in text


def next_commands(run: Path) -> list[list[str]]:
    """Return the commands that a run's page ends with, as a shell takes them apart."""
    text = (run / "report.html").read_text()
    _, _, lines = html.unescape(text[: text.rindex("</pre>")]).rpartition("<pre>\n")
    return [shlex.split(line) for line in lines.splitlines() if not line.startswith("# ")]


def test_the_next_commands_survive_a_shell_and_are_real(tmp_path: Path) -> None:
    run = make_run(tmp_path / "my runs; of $HOME")
    assert main(["report", str(run)]) == 0
    named = next_commands(run)
    ours = [words[1:] for words in named if words[0] == "robodreamer" and str(run) in words]
    assert [words[0] for words in ours] == ["export", "train", "dream", "evaluate"]
    for words in ours:  # every word is read before the folder is looked into
        with pytest.raises(ValueError, match="gone"):
            prepare([word.replace(str(run), str(tmp_path / "gone")) for word in words])


@pytest.mark.parametrize(
    ("limits", "option"),
    [
        ({"minutes": 0.1}, ["--minutes", "4"]),  # two minutes were trained all the same
        ({"minutes": 15.0}, ["--minutes", "30"]),
        ({}, ["--minutes", "4"]),
        ({"steps": STEP}, ["--steps", str(2 * STEP)]),
    ],
)
def test_the_resume_command_trains_longer_than_before(
    tmp_path: Path, limits: dict[str, Any], option: list[str]
) -> None:
    run = make_run(tmp_path / "toy")
    config = json.loads((run / "config.json").read_text())
    write_json(run / "config.json", {**config, "config": {**config["config"], **limits}})
    assert main(["report", str(run)]) == 0
    (words,) = (words for words in next_commands(run) if "--resume" in words)
    assert words[-2:] == option


def test_the_resume_command_of_a_short_run_trains_for_a_minute(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy")
    lines = (run / "metrics.jsonl").read_text().splitlines()
    write_json(run / "metrics.jsonl", json.loads(lines[-1]) | {"minutes": 0.1})
    assert main(["report", str(run)]) == 0
    (words,) = (words for words in next_commands(run) if "--resume" in words)
    assert words[-2:] == ["--minutes", "1"]


def test_a_run_without_any_success_has_a_sentence_instead_of_a_tile(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy", success=0.0)
    write_json(run / "random.json", summary(0.0))
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "does not know success" in page
    assert "0%" not in Outline(page).cells[:4]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"task": TASK}, "sense_to_act_ms is missing"),
        ({**DRIVE, "task": "fetch_push"}, "about fetch_push"),
        ([], "not what robodreamer-deploy --report writes"),
    ],
)
def test_a_file_of_another_kind_or_task_raises_a_clear_error(
    run: Path, tmp_path: Path, data: Any, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    drive = write_json(tmp_path / "drive.json", data)
    assert main(["report", str(run), "--drive", str(drive), "--out", str(tmp_path / "p")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


def test_an_unreadable_file_or_folder_raises_a_clear_error(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_text("{")
    assert main(["report", str(run), "--evaluation", str(tmp_path / "bad.json")]) == 2
    assert "bad.json cannot be read" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 2
    assert "config.json is missing" in capsys.readouterr().err


def test_text_that_looks_like_html_is_escaped(tmp_path: Path) -> None:
    bad = """<script>alert('&')</script>" onload="x"""
    run = make_run(tmp_path / bad.replace("/", ""))
    draws = {bad: summary(0.5)}
    evaluation = {"policy": "x", "task": TASK, "blank": [f"image/{bad}"], "draws": draws}
    file = write_json(tmp_path / "a.json", evaluation)
    assert main(["report", str(run), "--note", bad, "--evaluation", str(file)]) == 0
    page = (run / "report.html").read_text()
    Outline(page)
    assert page.count("&lt;script&gt;") >= 4  # warning, row of the table, paths of the commands
    assert "<script" not in page
    assert '" onload' not in page


def test_the_random_policy_is_measured_once(run: Path, tmp_path: Path) -> None:
    _, contract, _ = read_run(run)
    first = random_score(contract, tmp_path / "random.json")
    assert first.episodes == 50
    kept = json.loads((tmp_path / "random.json").read_text())
    write_json(tmp_path / "random.json", {**kept, "return": 1234.5})
    assert random_score(contract, tmp_path / "random.json").episode_return == 1234.5


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_random_actions_are_uniform_and_repeatable(kind: str) -> None:
    action = (
        ActionSpec(size=3, kind="discrete")
        if kind == "discrete"
        else ActionSpec(size=3, low=(-1.0,) * 3, high=(1.0,) * 3)
    )
    first, again = (RandomPolicy(action, 0).act({}, np.zeros(3000, bool)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    if kind == "discrete":
        np.testing.assert_array_equal(np.unique(first), [0, 1])
        np.testing.assert_array_equal(first.sum(-1), 1)
        np.testing.assert_allclose(first.mean(0), 1 / 3, atol=0.05)
    else:
        assert -1 <= first.min() < -0.99 < 0.99 < first.max() <= 1
        np.testing.assert_allclose(first.mean(0), 0, atol=0.05)


def test_evaluations_of_onnx_and_torch_have_different_names(run: Path, tmp_path: Path) -> None:
    _, contract, _ = read_run(run)
    data = {"policy": "p: run r, onnxruntime", "task": TASK, "blank": [],
            "draws": {"mode": summary(0.9), "sample": summary(0.8)}}  # fmt: skip
    scores = read_evaluation(write_json(tmp_path / "e.json", data), contract)
    assert {name: score.success for name, score in scores.items()} == {
        "after training, ONNX, mode": 0.9,
        "after training, ONNX, sample": 0.8,
    }
