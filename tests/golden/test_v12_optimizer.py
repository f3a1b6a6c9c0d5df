"""Golden vectors of Adam as DreamerV1 and V2 ran it: clipping by the global norm, weight decay."""

import pytest
import torch
from torch import Tensor, nn
from vectors import Case, Limits, case_names, compare, read
from vectors_v12 import CHANGE_L2, GRADIENT_NORM, file, load

from robodreamer.config import OptimizerConfig
from robodreamer.learning.optim import Adam

FILE = "v12_optimizer"
CASES = case_names(file(FILE))


def start() -> dict[str, nn.Parameter]:
    """Return the parameters before the first step."""
    arrays = read(file(FILE))[0]
    names = [name for name in arrays if name.startswith("param0/")]
    return {n.removeprefix("param0/"): nn.Parameter(torch.tensor(arrays[n])) for n in names}


def run(case: Case, parameters: dict[str, nn.Parameter]) -> tuple[dict[str, Tensor], Tensor]:
    """Take all steps; return the parameters after each, by number and name, and the norms."""
    options, arrays = case.options, read(file(FILE))[0]
    config = OptimizerConfig(
        method="adam",
        warmup=0,
        global_clip=float(options["clip"]),
        weight_decay=float(options["wd"]),
        beta1=float(options["beta1"]),
        beta2=float(options["beta2"]),
        epsilon=float(options["eps"]),
    )
    optimizer = Adam(parameters.values(), config, float(options["lr"]))
    norms, after = [], {}
    for step in range(len(arrays[f"grads/{next(iter(parameters))}"])):
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(arrays[f"grads/{name}"][step])
        norms.append(optimizer.step())
        for name, parameter in parameters.items():
            after[f"param{step + 1}/{name}"] = parameter.detach().clone()
    return after, torch.stack(norms)


@pytest.mark.parametrize("name", CASES)
def test_adam_moves_every_parameter_as_there(name: str) -> None:
    case, parameters = load(FILE, name), start()
    before = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    after, norms = run(case, parameters)
    expected = case.section("out")
    compare({"norm": expected.pop("norm")}, {"norm": norms}, GRADIENT_NORM)
    origin = {key: before[key.partition("/")[2]].numpy() for key in expected}
    compare(
        {key: array - origin[key] for key, array in expected.items()},
        {key: after[key] - torch.from_numpy(origin[key]) for key in expected},
        # Section 5, point 12: where the gradient is zero the change is rounding; and the change of
        # one element has the rounding of the parameter that it is added to.
        Limits(elementwise=1e9, relative=CHANGE_L2, absolute=1e-7),
    )
