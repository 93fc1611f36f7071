"""Names in the training file that an exported model needs, so that a generated file has the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hepgan.config import DataConfig, HitsConfig
from hepgan.data.columns import columns
from hepgan.data.root import branch_keys, find_trees, open_file, open_tree
from hepgan.files import expand
from hepgan.trees import branch_name

__all__ = ["completed"]


def completed(data: DataConfig) -> DataConfig:
    """Fill in the names that only writing needs: of the tree, and of the branch that counts hits.

    Args:
        data: The configuration.

    Returns:
        The same with the names of the first file, where it leaves them open.

    Raises:
        NotFoundError: If there is no such file.
        DataError: If it is no readable ROOT file, or has several trees and none is named.
    """
    calo = data.calorimeter
    hits = calo.hits if calo is not None and calo.layout == "hits" else None
    if (data.output_tree or data.tree) and (hits is None or hits.count):
        return data
    changes: dict[str, Any] = {}
    with open_file(expand(data.files, base=Path())[0]) as file:
        tree = open_tree(file, data.tree)
        if not (data.output_tree or data.tree):
            changes["output_tree"] = next(iter(find_trees(file)))
        if hits is not None and calo is not None and not hits.count:
            counted = hits.model_copy(update={"count": _counter(tree, hits)})
            changes["calorimeter"] = calo.model_copy(update={"hits": counted})
    return data.model_copy(update=changes)


def _counter(tree: Any, hits: HitsConfig) -> str | None:
    """Name of the branch with the lengths of the branch of the energies; None for a vector, or an RNTuple."""
    key = branch_keys(columns(tree)).get(branch_name(hits.energy, hits.energy))
    counter = None if key is None else getattr(columns(tree, [key])[key].branch, "count_branch", None)
    return None if counter is None else str(counter.name)
