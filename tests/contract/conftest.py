"""What the suites of this folder share with the unit tests: toys and simulated hardware."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "unit"))
