"""RoboDreamer on the robot: runs an exported policy with numpy and onnxruntime, without torch."""

import os

# onnxruntime's Linux wheels of late 2026 keep a device id and a queue of events in the home folder
# and upload it. They ask for this when they are imported; later is too late. It stays off unless
# the user sets it to 0.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
