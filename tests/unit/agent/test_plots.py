"""Learning curves: seeds are averaged, bands are honest, published ones are laid underneath."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robodreamer.cli.main import main
from robodreamer.config import named_config
from robodreamer.visualization.curves import (
    AXES,
    PUBLISHED,
    Group,
    average,
    read_groups,
    read_published,
)
from robodreamer.visualization.plots import (
    NARROW,
    describe_groups,
    plot_learning,
    plot_losses,
    prepare_plots,
    read_references,
)
from toy_run import TASK, make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two seeds of one kind, and another kind."""
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder / "toy-0", seed=0, returns=(1.0, 2.0)),
        make_run(folder / "toy-1", seed=1, returns=(3.0, 6.0)),
        make_run(folder / "blind", observe="proprio", returns=(0.0, 0.0), success=0.0),
    ]


def test_seeds_become_one_group(runs: list[Path]) -> None:
    groups = read_groups(runs)
    assert [group.label for group in groups] == ["toy (2 seeds)", "blind"]


def test_several_seeds_have_their_mean_and_deviation(runs: list[Path]) -> None:
    curve = read_groups(runs)[0].curve("evaluation/return", "minutes")
    assert curve is not None
    np.testing.assert_array_equal(curve.x, [1, 2])
    np.testing.assert_array_equal(curve.mean, [2, 4])
    np.testing.assert_allclose(curve.high - curve.mean, [np.sqrt(2), np.sqrt(8)])
    np.testing.assert_allclose(curve.mean - curve.low, curve.high - curve.mean)


def test_one_seed_has_the_interval_that_was_reported(runs: list[Path]) -> None:
    (group,) = read_groups(runs[:1])
    curve = group.curve("evaluation/return", "steps")
    assert curve is not None
    np.testing.assert_array_equal(curve.x, [60, 120])
    np.testing.assert_array_equal([curve.low, curve.mean, curve.high], [[0, 1], [1, 2], [2, 3]])
    losses = group.curve("loss/total", "steps")
    assert losses is not None
    np.testing.assert_array_equal(losses.low, losses.high)
    assert group.curve("nothing", "steps") is None


def test_steps_are_those_of_the_simulator(tmp_path: Path) -> None:
    (group,) = read_groups([make_run(tmp_path / "toy", action_repeat=2)])
    curve = group.curve("evaluation/return", "steps")
    assert curve is not None
    np.testing.assert_array_equal(curve.x, [120, 240])
    minutes = group.curve("evaluation/return", "minutes")
    assert minutes is not None
    np.testing.assert_array_equal(minutes.x, [1, 2])


def test_evaluations_lie_where_the_updates_around_them_were_reported(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy")
    lines = [
        {"step": 0, "minutes": 0.0, "updates": 0.0},
        {"step": 100, "minutes": 1.0, "updates": 40.0},
        {"step": 150, "minutes": 1.5, "evaluation/return": 7.0},
        {"step": 200, "minutes": 2.0, "updates": 100.0},
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (group,) = read_groups([run])
    curve = group.curve("evaluation/return", "updates")
    assert curve is not None
    np.testing.assert_allclose(curve.x, [70])
    assert (group.end("steps"), group.end("updates"), group.end("minutes")) == (200, 100, 2)


def test_a_run_without_updates_has_no_curve_over_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy")
    (run / "metrics.jsonl").write_text('{"step": 60, "minutes": 1.0, "episode/return": 1.0}\n')
    (group,) = read_groups([run])
    assert group.curve("episode/return", "updates") is None
    assert group.end("updates") == 0
    assert plot_learning([group], {}, AXES) is not None


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (("reach-s0", "reach-s1"), "reach"),
        (("reach_seed10", "reach_seed11"), "reach"),
        (("walkers0", "walkers1"), "walkers"),
        (("dreamer_v3-0", "dreamer_v3-1"), "dreamer_v3"),
        (("one", "two"), "one"),
    ],
)
def test_seeds_are_named_by_what_their_folders_share(
    names: tuple[str, ...], label: str, tmp_path: Path
) -> None:
    runs = [make_run(tmp_path / name, seed=seed) for seed, name in enumerate(names)]
    assert [group.label for group in read_groups(runs)] == [f"{label} (2 seeds)"]


def test_the_axes_that_are_asked_for_are_drawn(runs: list[Path]) -> None:
    groups = read_groups(runs[:1])
    one = plot_learning(groups, {}, ("minutes",))
    three = plot_learning(groups, {}, AXES)
    assert one is not None
    assert three is not None
    assert [picture.shape[1] for picture in (one, three)] == [450, 1350]


def test_an_unknown_axis_and_none_at_all_are_refused(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["plot", str(runs[0]), "--by", "hours"])
    assert "minutes" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--by names no axis; there is steps, updates, minutes"):
        prepare_plots(runs[:1], "none", Path("nowhere"), print, ())


def cartpole(tmp_path: Path, end: int) -> Group:
    """Return a run of a task with published curves, which has come to step `end`."""
    (group,) = read_groups([make_run(tmp_path / "toy", observe="proprio")])
    config = replace(group.config, task="dmc_cartpole_balance")
    return group._replace(config=config, metrics=[[{"step": end, "minutes": 1.0}]])


def test_published_curves_are_found_and_reach_as_far_as_the_run(tmp_path: Path) -> None:
    said: list[str] = []
    (found,) = read_references([cartpole(tmp_path, 60_000)], "auto", said.append).items()
    assert found[0] == "published, dmc_proprio (5 seeds)"
    assert 10_000 <= found[1].x[0] < found[1].x[-1] <= 60_000
    (whole,) = read_references([cartpole(tmp_path / "b", 60_000)], PUBLISHED, said.append).values()
    assert whole.x[-1] > 60_000
    assert said == []
    assert read_references([cartpole(tmp_path / "c", 60_000)], "none", said.append) == {}


def test_runs_that_end_before_the_published_curve_say_so_once(tmp_path: Path) -> None:
    said: list[str] = []
    group = cartpole(tmp_path, 5_000)
    assert read_references([group, group], "auto", said.append) == {}
    line = "published, dmc_proprio (5 seeds) begins beyond these runs"
    assert said == [line]


def test_other_tasks_have_no_published_curve_and_need_none(runs: list[Path]) -> None:
    assert read_references(read_groups(runs), "auto", pytest.fail) == {}


def test_the_table_has_the_last_results_in_80_columns(runs: list[Path]) -> None:
    header, seeds, blind = describe_groups(read_groups(runs))
    assert seeds.split() == ["toy", "(2", "seeds)", "120", "2.0", "4.0", "+-", "2.8", "25%"]
    assert blind.split() == ["blind", "120", "2.0", "0.0", "+-", "1.0", "0%"]
    (group, _) = read_groups(runs)
    (_, long) = describe_groups([group._replace(label="x" * 90)])
    assert {len(line) for line in (header, seeds, blind, long)} == {80}


def test_an_average_reaches_as_far_as_all_curves() -> None:
    curve = average(
        [
            (np.array([0.0, 10, 20]), np.array([0.0, 10, 20])),
            (np.array([5.0, 15]), np.array([1.0, 1])),
        ]
    )
    np.testing.assert_array_equal(curve.x, [5, 10, 15])
    np.testing.assert_array_equal(curve.mean, [3, 5.5, 8])


def test_published_curves_are_those_of_the_same_task_and_view() -> None:
    walker = replace(named_config("dmc_walker_walk"), observe="proprio")
    (label,) = read_published(PUBLISHED, walker)
    assert label == "published, dmc_proprio (5 seeds)"
    (found,) = read_published(PUBLISHED, replace(walker, observe="both")).items()
    label, curve = found
    assert label == "published, dmc_vision (10 seeds)"
    assert (curve.x[0], curve.mean[0]) == (20000, 99.59)
    assert curve.high[0] - curve.mean[0] == pytest.approx(16.01)
    assert (np.diff(curve.x) > 0).all()


def test_a_task_without_published_curve_is_refused(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", str(runs[0]), "--published", str(PUBLISHED)]) == 2
    assert f"no curve of {TASK}; it has dmc_acrobot_swingup" in capsys.readouterr().err
    assert main(["plot", str(runs[0]), "--published", "atuo"]) == 2
    assert "atuo is no file of published curves; --published auto finds" in capsys.readouterr().err
    (tmp_path / "bad.csv").write_text("task,mean\n")
    assert main(["plot", str(runs[0]), "--published", str(tmp_path / "bad.csv")]) == 2
    assert "lacks the columns env_step, n_seeds, std, suite" in capsys.readouterr().err


def test_success_is_left_out_where_there_never_was_any(runs: list[Path]) -> None:
    some, none = (plot_learning(read_groups([run]), {}) for run in (runs[0], runs[2]))
    assert some is not None
    assert none is not None
    assert some.shape[0] > 1.5 * none.shape[0]


def test_every_loss_has_its_panel(runs: list[Path]) -> None:
    groups = read_groups(runs)
    assert plot_losses(groups) is not None
    for lines in groups[0].metrics:
        for line in lines:
            line.update({f"loss/{i}": 1.0 for i in range(5)} if "loss/total" in line else {})
    more, fewer = plot_losses(groups), plot_losses(groups[1:])
    assert more is not None
    assert fewer is not None
    assert more.shape[0] > 1.3 * fewer.shape[0]  # seven panels take two rows, two take one


def test_the_command_writes_both_plots(runs: list[Path], tmp_path: Path) -> None:
    assert main(["plot", *map(str, runs), "--out", str(tmp_path / "plots")]) == 0
    written = {path.name: path.stat().st_size for path in (tmp_path / "plots").iterdir()}
    names = {f"{kind}{form}.png" for kind in ("learning", "losses") for form in ("", NARROW)}
    assert set(written) == names
    assert min(written.values()) > 5000


@pytest.mark.parametrize("words", [[], ["nowhere"]])
def test_what_is_no_run_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", *words]) == 2
    assert "run folder" in capsys.readouterr().err


def test_a_run_without_reports_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "toy")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="reported nothing yet"):
        read_groups([run])
