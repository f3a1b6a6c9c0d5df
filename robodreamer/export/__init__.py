"""Export: from a trained agent to a verified folder of ONNX graphs."""
