"""`robodreamer robot`: a simulated robot in a process of its own."""

from collections.abc import Sequence

from robodreamer.cli.parsing import Job


def robot(words: Sequence[str]) -> Job:
    """Prepare a simulated robot in this process, for a driver in another one."""
    from robodreamer_sim.robots.virtual_hardware.arguments import parser

    program = "robodreamer robot"
    arguments = parser(program).parse_args(words)
    from robodreamer_sim.compat import import_mujoco

    import_mujoco()  # before anything else loads it: MUJOCO_GL may name what MuJoCo does not know
    from robodreamer_sim.robots.virtual_hardware.process import run

    return lambda: run(arguments, program)
