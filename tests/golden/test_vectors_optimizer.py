"""Golden vectors 08: gradient clipping, scaling, momentum and warm-up, step by step."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from vectors import GRADIENT, Case, Options, case_names, compare, read

from robodreamer.config import OptimizerConfig
from robodreamer.learning.optim import LaProp

FILE = "08_optimizer.npz"
CASES = [name for name in case_names(FILE) if "beta1" in read(FILE)[1][name]]


def make_config(options: Options) -> OptimizerConfig:
    """Return the options of a case as ours."""
    assert options["momentum"]
    assert options["schedule"] == "const"
    assert options["wd"] == options["anneal"] == 0
    return OptimizerConfig(
        learning_rate=options["lr"],
        warmup=options["warmup"],
        clip=options["agc"],
        beta1=options["beta1"],
        beta2=options["beta2"],
        epsilon=options["eps"],
    )


def start() -> dict[str, nn.Parameter]:
    """Return the parameters before the first step."""
    arrays = read(FILE)[0]
    names = [name for name in arrays if name.startswith("param0/")]
    return {
        name.removeprefix("param0/"): nn.Parameter(torch.tensor(arrays[name])) for name in names
    }


class Recorder(LaProp):
    """An optimizer that keeps its clipped gradients."""

    def _clip(self, grads: list[Tensor], norms: Tensor) -> list[Tensor]:
        self.clipped = super()._clip(grads, norms)
        return [grad.clone() for grad in self.clipped]


def run(config: OptimizerConfig, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
    """Take all steps; return every stage of every step, and the parameters, by their names."""
    arrays = read(FILE)[0]
    optimizer = Recorder(parameters.values(), config)
    stages: dict[str, list[Tensor]] = {}
    after: dict[str, Tensor] = {}
    for step in range(len(arrays[f"grads/{next(iter(parameters))}"])):
        rate = optimizer.learning_rate
        momenta = [momentum.clone() for momentum in optimizer.momenta]
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(arrays[f"grads/{name}"][step])
        optimizer.step()
        for i, (name, parameter) in enumerate(parameters.items()):
            momentum = optimizer.momenta[i] / (1 - config.beta1**optimizer.num_steps)
            averaged = (optimizer.momenta[i] - config.beta1 * momenta[i]) / (1 - config.beta1)
            found = {"agc": optimizer.clipped[i], "rms": averaged, "momentum": momentum}
            for stage, value in (found | {"update": -rate * momentum}).items():
                stages.setdefault(f"{stage}/{name}", []).append(value)
            after[f"param{step + 1}/{name}"] = parameter.detach().clone()
    return after | {name: torch.stack(values) for name, values in stages.items()}


@pytest.mark.parametrize("name", CASES)
def test_every_stage_of_every_step_is_the_references(name: str) -> None:
    case = Case(FILE, name)
    expected = case.section("out")
    ours = run(make_config(case.options), start())
    # As for gradients: the reference's bias corrections are float32 (section 5, point 2).
    compare(expected, {key: ours[key] for key in expected}, GRADIENT)


@pytest.mark.parametrize("name", CASES)
def test_updates_move_the_parameters_as_far_as_the_references(name: str) -> None:
    case, parameters = Case(FILE, name), start()
    before = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    ours = run(make_config(case.options), parameters)
    expected = case.section("out")
    for key, array in expected.items():
        if key.startswith("param"):
            name = key.partition("/")[2]
            moved, here = torch.from_numpy(array) - before[name], ours[key] - before[name]
            rounding = 1e-6 * before[name].norm()
            assert (moved - here).norm() <= 1e-3 * moved.norm() + rounding, key


@pytest.mark.parametrize("name", case_names(FILE, "schedule"))
def test_the_learning_rate_rises_as_the_references(name: str) -> None:
    case = Case(FILE, name)
    config = OptimizerConfig(learning_rate=case.options["lr"], warmup=case.options["warmup"])
    optimizer = LaProp([], config)
    rates: list[float] = []
    for count in case["in/count"].tolist():
        optimizer.num_steps = count
        rates.append(optimizer.learning_rate)
    compare(case.section("out"), {"lr": torch.tensor(rates)})
