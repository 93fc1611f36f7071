"""Friend trees (``TTree::AddFriend``): found and named, because hepgan does not read them."""

from __future__ import annotations

from typing import Any

import uproot

__all__ = ["friends", "unread"]


def friends(tree: Any) -> list[str]:
    """Friends of a TTree: name and file, or name alone if it is in the same file.

    uproot reads their list only on request, so the file is opened once more; a list that it cannot read counts as
    empty.
    """
    if not hasattr(tree, "branches"):  # an RNTuple
        return []
    try:
        with uproot.open({tree.file.file_path: None}, minimal_ttree_metadata=False) as file:
            elements = list(file[tree.object_path].member("fFriends") or ())
            return [_described(element) for element in elements]
    except Exception:
        return []


def _described(element: Any) -> str:
    name, file = str(element.member("fTreeName")), element.member("fTitle")
    return f"{name!r} of {file}" if file else repr(name)


def unread(tree: Any) -> str:
    """The end of a message about a missing branch: empty, or the friends and what to do."""
    found = friends(tree)
    if not found:
        return ""
    return (
        f"; it has friend trees ({', '.join(found)}), which hepgan does not read: write one tree with ROOT, "
        'RDataFrame(tree).Snapshot("name", "one.root", columns)'
    )
