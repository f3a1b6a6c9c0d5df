"""Run the controller from a bare copy of this folder: `python deploy POLICY --robot ...`."""

import sys

from robodreamer_deploy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
