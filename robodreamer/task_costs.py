"""What a step of a task costs: its physics, and the pictures that are observed of it."""

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from robodreamer_sim.cameras.faces import count_faces
from robodreamer_sim.cameras.thinning import thin
from robodreamer_sim.conformance import random_action
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.faults import GraphicsError
from robodreamer_sim.options import EnvOptions

NUM_STEPS, NUM_PICTURES = 20, 5
MANY_FACES = 20.0
"""Triangles for each pixel of a picture from which on they are told. Drawn by llvmpipe a picture of
64x64 takes 2 ms, and 30 ms with 34 triangles for each of its pixels (Panda)."""

Clock = Callable[[], float]


class Costs(NamedTuple):
    """What a control step takes, and why."""

    physics_s: float
    """Without pictures, but for an environment that draws itself."""
    pictures_s: float
    """Of all pictures that are observed; 0 where none is drawn for that."""
    num_pixels: int
    num_faces: int
    """Triangles of the meshes that are drawn."""
    why_not: str
    """Why this machine cannot draw it; empty where it can."""


def measure_costs(env: TaskEnv, clock: Clock) -> Costs:
    """Take some random steps and pictures, and return the medians of their durations."""
    rng = np.random.default_rng(0)
    env.begin_episode(seed=0)
    steps = [_timed(lambda: _step(env, rng), clock) for _ in range(NUM_STEPS)]
    sizes = {
        signal.name.partition("/")[2]: signal.shape[:2]
        for signal in env.contract.inputs
        if signal.is_image
    }
    drawn = [(name, *sizes[name]) for name in env.camera_names if name in sizes]

    def draw() -> None:
        for name, height, width in drawn:
            env.render_camera(name, height, width)

    pictures, why_not = [0.0], ""
    try:
        if drawn:
            draw()  # which uploads meshes and textures
            pictures = [_timed(draw, clock) for _ in range(NUM_PICTURES)]
    except GraphicsError as error:
        why_not = str(error)
    return Costs(
        physics_s=statistics.median(steps),
        pictures_s=statistics.median(pictures),
        num_pixels=max((height * width for _, height, width in drawn), default=0),
        num_faces=_count_faces(env) if drawn else 0,
        why_not=why_not,
    )


def cost_rows(costs: Costs, options: EnvOptions) -> Iterator[tuple[str, str]]:
    """Yield titles and texts of what to tell about the costs."""
    pictures = f", {_ms(costs.pictures_s)} of pictures" if costs.num_pixels else ""
    if costs.why_not:
        pictures = f"; pictures cannot be drawn here: {costs.why_not}"
    yield "step time", f"{_ms(costs.physics_s)} of physics{pictures}"
    if not costs.num_faces:
        return
    share = costs.num_faces / costs.num_pixels
    text = f"{costs.num_faces:,} triangles are drawn, {_figure(share)} for each pixel"
    if share > MANY_FACES and options.meshes == "full":
        text += (
            ", which costs most of a picture that no GPU draws: --data.meshes thin draws fewer, "
            "and docs/your-task.md says what else helps"
        )
    yield "meshes", text


def _ms(duration_s: float) -> str:
    return f"{_figure(1e3 * duration_s)} ms"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10.0 else f"{value:.2g}"


def _step(env: TaskEnv, rng: np.random.Generator) -> None:
    transition = env.take_action(random_action(env, rng))
    if transition.is_terminated or transition.is_truncated:
        env.begin_episode()


def _timed(work: Callable[[], None], clock: Clock) -> float:
    start = clock()
    work()
    return clock() - start


def _count_faces(env: TaskEnv) -> int:
    if env.mujoco_handles is None:
        return 0
    model, _ = env.mujoco_handles
    options = EnvOptions.from_dict(env.contract.options)
    drawn = thin(model) if options.meshes == "thin" else model
    return count_faces(drawn, options.geom_groups)
