"""Cuts: parts of one ONNX graph as graphs of their own.

The agent's step is traced once, as a whole. Every file of a policy is a part of that one graph, so
that two of them that hold the same layer cannot disagree about it.
"""

from collections.abc import Mapping, Sequence

import onnx

from robodreamer_deploy.policy.graph_spec import GraphSpec


def cut(whole: onnx.ModelProto, part: GraphSpec, name: str) -> onnx.ModelProto:
    """Return what computes a part's outputs from its inputs, as a model called `name`.

    Every value that a part begins or ends with is an input or an output of the whole, by name.
    """
    graph = whole.graph
    inputs = {tensor.value: tensor.name for tensor in part.inputs}
    outputs = {tensor.value: tensor.name for tensor in part.outputs}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes = _between(graph.node, begin={*inputs, *weights, ""}, end={*outputs})
    used = {value for node in nodes for value in node.input}
    inner = used | {value for node in nodes for value in node.output}
    names = inputs | outputs
    clash = {*names.values()} & (inner - names.keys())
    assert not clash, f"{name} has inner values that are called {sorted(clash)}"
    infos = {info.name: info for info in (*graph.input, *graph.output)}
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [_renamed_node(node, names) for node in nodes],
            name,
            [_renamed_info(infos[old], new) for old, new in inputs.items()],
            [_renamed_info(infos[old], new) for old, new in outputs.items()],
            [tensor for old, tensor in weights.items() if old in used],
        ),
        opset_imports=whole.opset_import,
        ir_version=whole.ir_version,
        producer_name=whole.producer_name,
        producer_version=whole.producer_version,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _between(
    nodes: Sequence[onnx.NodeProto], begin: set[str], end: set[str]
) -> list[onnx.NodeProto]:
    """Return the nodes that lie between some values and others, in order."""
    wanted, found = end - begin, list[onnx.NodeProto]()
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            found.append(node)
            wanted.difference_update(node.output)
            wanted.update(value for value in node.input if value not in begin)
    assert not wanted, f"{sorted(end)} also need {sorted(wanted)}"
    return found[::-1]


def _renamed_node(node: onnx.NodeProto, names: Mapping[str, str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.input[:] = [names.get(value, value) for value in node.input]
    copy.output[:] = [names.get(value, value) for value in node.output]
    return copy


def _renamed_info(info: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    copy = onnx.ValueInfoProto()
    copy.CopyFrom(info)
    copy.name = name
    return copy
