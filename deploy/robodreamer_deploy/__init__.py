"""RoboDreamer on the robot: runs an exported policy with numpy and onnxruntime, without torch."""
