"""`python -m robodreamer_sim.hardware TASK`, where there is no torch for `robodreamer robot`."""

import sys

from robodreamer_sim.hardware.arguments import parser
from robodreamer_sim.hardware.process import run

PROGRAM = "python -m robodreamer_sim.hardware"

if __name__ == "__main__":
    sys.exit(run(parser(PROGRAM).parse_args(), PROGRAM))
