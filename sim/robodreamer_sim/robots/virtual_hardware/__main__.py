"""`python -m robodreamer_sim.robots.virtual_hardware TASK`: virtual hardware without torch."""

import sys

from robodreamer_sim.compat import import_mujoco
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.robots.virtual_hardware.arguments import parser

PROGRAM = "python -m robodreamer_sim.robots.virtual_hardware"


def main() -> int:
    """Run the robot that the command line names; return the exit code."""
    arguments = parser(PROGRAM).parse_args()
    try:
        import_mujoco()  # before anything else loads it: MUJOCO_GL may name what it does not know
    except GraphicsError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    from robodreamer_sim.robots.virtual_hardware.process import run

    return run(arguments, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
