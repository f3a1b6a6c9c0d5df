"""`python -m robodreamer_sim.robots.virtual_hardware TASK`: virtual hardware without torch."""

import sys

from robodreamer_sim.robots.virtual_hardware.arguments import parser
from robodreamer_sim.robots.virtual_hardware.process import run

PROGRAM = "python -m robodreamer_sim.robots.virtual_hardware"

if __name__ == "__main__":
    sys.exit(run(parser(PROGRAM).parse_args(), PROGRAM))
