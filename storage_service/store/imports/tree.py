"""Conversations as trees: every edit and every new answer began a branch, and one leaf was shown last."""

from collections.abc import Mapping, Sequence


def path_to(leaf: str, parents: Mapping[str, object]) -> tuple[list[str], bool]:
    """The nodes from the root to a leaf, and whether the way ended at a root.

    parents: of every node; None, or what is no node's name, ends the way. It does not end at a root where a parent is
    named that is not there, or that was passed already.
    """
    path: list[str] = []
    passed: set[str] = set()
    node: object = leaf
    while isinstance(node, str) and node in parents and node not in passed:
        path.append(node)
        passed.add(node)
        node = parents[node]
    return path[::-1], node is None


def latest_leaf(parents: Mapping[str, object], times: Mapping[str, int]) -> str | None:
    """The leaf that was made last; among equals the last one named. None when there is no node."""
    inner = {parent for parent in parents.values() if isinstance(parent, str)}
    leaves: Sequence[str] = [node for node in parents if node not in inner] or list(parents)
    return max(reversed(leaves), key=lambda node: times.get(node, 0), default=None)
