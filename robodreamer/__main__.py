"""The `robodreamer` command: names the packages that are missing, or calls `robodreamer.cli.main`.

A robot computer has the bare install, numpy and onnxruntime; a command to train gets a sentence
there instead of a traceback. Nothing is caught: an error inside an installed package is shown. The
doctor alone runs on every machine.
"""

import sys
from importlib.util import find_spec

TRAINING_PACKAGES = (
    "torch", "mujoco", "dm_control", "gymnasium", "gymnasium_robotics", "onnx", "onnxscript",
    "safetensors", "jaxtyping", "tyro", "rich", "jinja2", "yaml", "tensorboard", "matplotlib",
    "av",
)  # fmt: skip
"""Import names of everything in the extra `train`."""


def main() -> int | None:
    """Run the command line; return the exit status, 2 where it needs the extra `train`."""
    missing = [package for package in TRAINING_PACKAGES if find_spec(package) is None]
    if missing and sys.argv[1:] == ["doctor"]:
        from robodreamer.doctor.report import prepare_examination

        return prepare_examination(print)()
    if missing:
        print(
            f"robodreamer needs {', '.join(missing)}: run pip install 'robodreamer[train]' "
            "(to drive a robot, robodreamer-deploy needs none of it).",
            file=sys.stderr,
        )
        return 2
    from robodreamer.cli.main import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
