"""Cost of a task's step: its physics, and the pictures that are observed."""

import statistics
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from robodreamer_sim.cameras.drawn_geoms import DrawnFaces, drawn_faces
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.testing.conformance import random_action

NUM_STEPS, NUM_PICTURES = 20, 5

Clock = Callable[[], float]


class Costs(NamedTuple):
    """Duration of a control step, and the triangles behind it."""

    physics_s: float
    """Seconds without pictures; an environment that draws its own has them included."""
    pictures_s: float
    """Seconds for all observed pictures; 0 where the simulator draws none."""
    faces: DrawnFaces
    why_not: str
    """Reason why this machine cannot draw the task; empty where it can."""


def measure_costs(env: TaskEnv, clock: Clock) -> Costs:
    """Return the median durations of some random steps and of their pictures."""
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
            draw()  # the first one uploads meshes and textures
            pictures = [_timed(draw, clock) for _ in range(NUM_PICTURES)]
    except GraphicsError as error:
        why_not = str(error)
    handles = env.mujoco_handles
    return Costs(
        physics_s=statistics.median(steps),
        pictures_s=statistics.median(pictures),
        faces=drawn_faces(env.contract, handles[0] if drawn and handles else None),
        why_not=why_not,
    )


def cost_rows(costs: Costs) -> Iterator[tuple[str, str]]:
    """Yield titles and texts for a table of a task's details."""
    pictures = f", {_ms(costs.pictures_s)} of pictures" if costs.pictures_s else ""
    if costs.why_not:
        pictures = f"; pictures cannot be drawn here: {costs.why_not}"
    yield "step time", f"{_ms(costs.physics_s)} of physics{pictures}"
    if costs.faces.num_faces:
        yield "meshes", str(costs.faces)


def _ms(duration_s: float) -> str:
    milliseconds = 1e3 * duration_s
    return f"{milliseconds:,.0f} ms" if milliseconds >= 10.0 else f"{milliseconds:.2g} ms"


def _step(env: TaskEnv, rng: np.random.Generator) -> None:
    transition = env.take_action(random_action(env, rng))
    if transition.is_terminated or transition.is_truncated:
        env.begin_episode()


def _timed(work: Callable[[], None], clock: Clock) -> float:
    start = clock()
    work()
    return clock() - start
