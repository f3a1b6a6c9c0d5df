"""Shared pages: models that are alike lie in memory once, and nobody can tell.

What changes the allocator runs in a process of its own.
"""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import pytest

from robodreamer_sim import EnvOptions, VectorEnv

LIMIT_MB = 5
GROWS = """
import sys
from pathlib import Path

import numpy as np

from robodreamer_sim import EnvOptions, make
from robodreamer_sim.cameras.renderer import Renderers
from robodreamer_sim.vector.shared_pages import SharedPages

pages, renderers, kept = SharedPages(), Renderers(), []

def add(task):
    env = make(task, EnvOptions(image_size=(64, 64)), renderers)
    pages.share(env.mujoco_handles[0])
    kept.append(env)
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(env.contract.action.size, np.float32))

def memory_mb():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    return sum(map(int, sizes)) * 1024 / 1e6

for task in sys.argv[1:]:
    add(task)
    add(task)
    before = memory_mb()
    for _ in range(4):
        add(task)
    print(task, (memory_mb() - before) / 4)
"""
KEEPS = """
import mujoco
import numpy as np

from robodreamer_sim.vector.shared_pages import SharedPages

SPHERES = ''.join(f'<geom size=".1" pos="{i} 0 0"/>' for i in range(9))
XML = f'''
<mujoco>
  <asset>
    <texture type="skybox" builtin="gradient" rgb1="1 1 1" rgb2="0 0 0" width="300" height="1800"/>
    <hfield name="hills" nrow="300" ncol="300" size="1 1 1 1"/>
  </asset>
  <worldbody>{SPHERES}<geom type="hfield" hfield="hills"/></worldbody>
</mujoco>
'''

def values(model):
    fields = {name: getattr(model, name) for name in dir(model) if not name.startswith("_")}
    return {k: v.copy() for k, v in fields.items() if isinstance(v, np.ndarray)}

def num_mapped():
    with open("/proc/self/maps") as maps:
        return sum("robodreamer-model" in line for line in maps)

pages = SharedPages()
one, other = (mujoco.MjModel.from_xml_string(XML) for _ in range(2))
before = values(one)
pages.share(one)
pages.share(other)
assert num_mapped() == 4, num_mapped()
for name, value in before.items():
    np.testing.assert_array_equal(getattr(one, name), value, err_msg=name)

one.hfield_data[:] = 7
assert (one.hfield_data == 7).all()
assert not other.hfield_data.any()

del one
assert num_mapped() == 2, "a model that is freed takes its mappings along"
assert not any(np.zeros(1 << 20, np.uint8).any() for _ in range(40))

third = mujoco.MjModel.from_xml_string(XML)
pages.share(third)
pages.close()
for model in (other, third):
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(model, name), value, err_msg=name)
print("kept")
"""


def run(script: str, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script, *words],
        env={"PYTHONPATH": ":".join(sys.path), "MUJOCO_GL": "egl", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "tasks",
    [
        ("dmc_walker_walk", "fetch_reach"),
        pytest.param(("adroit_door", "point_maze_umaze", "arm_reach"), marks=pytest.mark.slow),
    ],
)
def test_one_more_environment_takes_no_more_than_5_mb(tasks: tuple[str, ...]) -> None:
    grown = dict(line.split() for line in run(GROWS, *tasks).splitlines())
    assert grown.keys() == set(tasks)
    assert all(float(added) <= LIMIT_MB for added in grown.values()), grown


def test_shared_models_keep_their_values_and_what_is_written_stays_with_the_writer() -> None:
    assert run(KEEPS) == "kept\n"


def test_the_environments_of_a_worker_share_their_models() -> None:
    with VectorEnv("fetch_reach", EnvOptions(observe="proprio"), num_envs=3, num_workers=1, seed=0):
        (process,) = multiprocessing.active_children()
        maps = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    files = [line.split()[4] for line in maps if "robodreamer-model" in line]
    assert len(files) == 3 * len(set(files)) > 0
