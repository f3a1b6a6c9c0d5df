"""Subgraphs: parts of one ONNX graph as graphs of their own.

The agent's step is traced once, as a whole. Every file of a policy is a part of that one graph, so
that two of them that hold the same layer cannot disagree about it.
"""

import onnx
import onnx_ir

from robodreamer_deploy.policy.graph_spec import GraphSpec


def extract_subgraph(whole: onnx.ModelProto, part: GraphSpec, name: str) -> onnx.ModelProto:
    """Return the model `name`, which computes a part's outputs from its inputs.

    Every value that a part begins or ends with is an input or an output of the whole, by name.
    """
    extractor = onnx.utils.Extractor(whole)
    inputs, outputs = ([tensor.value for tensor in side] for side in (part.inputs, part.outputs))
    model = onnx_ir.from_proto(extractor.extract_model(inputs, outputs))
    model.graph.name = name
    ends = zip(
        [*model.graph.inputs, *model.graph.outputs], [*part.inputs, *part.outputs], strict=True
    )
    taken = {value.name for node in model.graph for value in node.outputs} - {*inputs, *outputs}
    for value, tensor in ends:
        assert tensor.name not in taken, f"{name} has an inner value that is called {tensor.name}"
        value.name = tensor.name
    extracted = onnx_ir.to_proto(model)
    extracted.producer_name = whole.producer_name
    extracted.producer_version = whole.producer_version
    del extracted.graph.value_info[:]
    onnx.checker.check_model(extracted, full_check=True)
    return extracted
