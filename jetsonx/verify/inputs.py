"""What a report says of an artifact that was looked at."""

from __future__ import annotations

from jetsonx.artifact.tree import Tree
from jetsonx.verify.report import Input, InputLayer


def input_of(tree: Tree) -> Input:
    """The files with something of interest in them, how many there are, and what each layer holds of them."""
    nodes = [node for node in tree.nodes.values() if node.kind == "file"]
    sizes = [0] * len(tree.layers)
    for node in nodes:
        if node.layer is not None and node.layer < len(sizes):
            sizes[node.layer] += node.size_bytes
    return Input(
        name=tree.name,
        kind=tree.kind,
        digest=tree.digest,
        file_count=len(nodes),
        size_bytes=sum(node.size_bytes for node in nodes),
        layers=tuple(
            InputLayer(digest=x.digest, size_bytes=x.size_bytes, files_bytes=size, created_by=x.created_by)
            for x, size in zip(tree.layers, sizes, strict=True)
        ),
        files=tuple(node.facts for node in tree.iter_files() if node.facts is not None),
    )
