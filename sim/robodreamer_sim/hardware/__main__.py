"""`python -m robodreamer_sim.hardware TASK`, where there is no torch for `robodreamer robot`."""

import sys

from robodreamer_sim.hardware.process import main

sys.exit(main(prog="python -m robodreamer_sim.hardware"))
