"""How the bytes of a TTree's branch become numbers, where uproot's own reading is wrong or missing.

* An object that is stored whole has no header in front if ROOT streams it (``TBranchElement::ReadLeavesMember``).
* A vector of structs that is stored whole has one member after the other (``TBufferFile::ReadVersionForMemberWise``).
* `Double32_t` and `Float16_t` are a float, an integer in a range, or a float with a short mantissa. Their title says
  which (``/d[0,80000,24]``, ``//[0,20]``), behind the dimensions of an array (``TStreamerElement::GetRange``,
  ``TBuffer::WriteDouble32``).

Everything else is left to uproot.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from uproot.interpretation.identify import interpretation_of as usual_interpretation_of
from uproot.interpretation.jagged import AsJagged
from uproot.interpretation.numerical import AsDouble32, AsDtype, AsFloat16
from uproot.interpretation.objects import AsObjects, AsStridedObjects

__all__ = ["interpretation_of"]

_CODES = {"TLeafD32": "Double32_t", "TLeafF16": "Float16_t"}  # of leaves that a leaf list declares
_TYPES = {9: "Double32_t", 19: "Float16_t"}  # of leaves of a class, TVirtualStreamerInfo::EReadWrite
_BEHIND_POINTER = 40  # what TVirtualStreamerInfo adds to the type of variable-length arrays
_IN_ARRAY = (20, _BEHIND_POINTER)  # and of fixed ones
_FLOAT16_BITS = 12  # of the mantissa, if the title names no range
_MOST_BITS, _FEWEST_BITS = 32, 2
_SHORT_MANTISSA = 15  # an empty range with fewer bits than this is one
_VECTOR_HEADER = 10  # bytes before the elements: byte count, version, number of elements
_BYTE_COUNT = 0x40000000  # marks the byte count of an object in ROOT's streams
_MEMBERWISE = 0x4000  # marks the version of a vector whose structs are stored one member after the other
_VECTOR = re.compile(r"(?:std::)?vector<(Double32_t|Float16_t)>")


def interpretation_of(branch: Any) -> Any:
    """The interpretation that uproot needs to read a branch of a TTree.

    Raises:
        Exception: Whatever uproot raises for a type that it does not know.
    """
    leaves = branch.member("fLeaves")
    if not len(branch.branches) and len(leaves) == 1 and (kind := _packed(leaves[0])):
        return _of_packed(branch, leaves[0], kind)
    streamer = branch.streamer
    name = branch.member("fClassName", none_if_missing=True) if branch.top_level else None
    name = name or (streamer.typename if streamer is not None else "")
    if _VECTOR.fullmatch(str(name).replace(" ", "")):  # elements of a collection are plain floats
        return AsJagged(_floats(()), header_bytes=_VECTOR_HEADER)
    interpretation = branch.interpretation
    if isinstance(interpretation, Exception):
        raise interpretation
    if isinstance(interpretation, AsObjects):
        _refuse_ranges(branch, interpretation.typename)
    if isinstance(interpretation, AsJagged) and isinstance(interpretation.content, AsStridedObjects):
        return _Structs(interpretation.content, header_bytes=interpretation.header_bytes)
    if (
        isinstance(interpretation, (AsObjects, AsStridedObjects))
        and branch.top_level
        and branch.member("fType", none_if_missing=True) == 0
        and branch.member("fID") == -1
    ):
        return _Whole(usual_interpretation_of(branch, {}, simplify=False).model, branch)
    return interpretation


def _refuse_ranges(branch: Any, typename: str, known: frozenset[str] = frozenset()) -> None:
    """Stop at a class with packed members that uproot reads as plain floats, in it or in the classes of its members."""
    streamers = branch.file.streamers
    for name in set(re.findall(r"[\w:]+", typename)) & set(streamers) - known:
        for element in streamers[name][max(streamers[name])].elements:
            member = element.typename
            packed = next((kind for kind in _TYPES.values() if kind in member), None)
            if packed and ("[" in element.title or element.member("fArrayDim", none_if_missing=True)):
                raise NotImplementedError(f"{packed} with a range or in an array ({name}::{element.name})")
            _refuse_ranges(branch, element.name if member == "BASE" else member, known | {name})


class _Whole(AsObjects):  # type: ignore[misc]  # uproot has no types
    """Objects that are stored whole, with or without a header in front of each."""

    def basket_array(self, data: Any, byte_offsets: Any, basket: Any, branch: Any, *rest: Any) -> Any:
        sizes = np.diff(byte_offsets)
        first = np.asarray(byte_offsets[:-1], np.int64)
        counted = sizes >= 4
        counted[counted] = _big_endian(data, first[counted], ">u4") == sizes[counted] - 4 + _BYTE_COUNT
        if not counted.all():
            header = np.zeros(len(sizes), [("count", ">u4"), ("version", ">u2")])
            header["count"] = sizes + 2 + _BYTE_COUNT
            header["version"] = branch.member("fClassVersion")
            added = header.view(np.uint8).reshape(-1, header.itemsize)
            data = np.insert(data[: byte_offsets[-1]], np.repeat(first, header.itemsize), added.ravel())
            ends = byte_offsets + header.itemsize * np.arange(len(byte_offsets))
            byte_offsets = ends.astype(np.int32)  # the type that uproot expects
        return super().basket_array(data, byte_offsets, basket, branch, *rest)


class _Structs(AsJagged):  # type: ignore[misc]
    """Vectors of structs that are stored whole: one struct, or one member, after the other."""

    def basket_array(self, data: Any, byte_offsets: Any, basket: Any, branch: Any, *rest: Any) -> Any:
        starts = np.asarray(byte_offsets[:-1], np.int64)
        versions = _big_endian(data, starts + 4, ">u2")
        if (versions & _MEMBERWISE).any():
            data, byte_offsets = self._one_after_the_other(data, np.asarray(byte_offsets, np.int64), branch)
        return super().basket_array(data, byte_offsets, basket, branch, *rest)

    def _one_after_the_other(
        self, data: Any, byte_offsets: NDArray[np.int64], branch: Any
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The same vectors with one struct after the other."""
        layout = self.content.from_dtype
        if any(
            re.search("[@/]", name) for name in layout.names
        ):  # objects in the struct have headers of their own
            raise NotImplementedError(f"memberwise serialization of {branch.typename}")
        starts = byte_offsets[:-1]
        # byte count, version of the vector, version of the struct (and a checksum if that is 0), number of structs
        numbers = starts + _VECTOR_HEADER - 2 + np.where(_big_endian(data, starts + 6, ">i2") <= 0, 4, 0)
        counts = _big_endian(data, numbers, ">u4").astype(np.int64)
        first = numbers + 4
        if (first + counts * layout.itemsize != byte_offsets[1:]).any():
            raise NotImplementedError(f"memberwise serialization of {branch.typename} with other members")
        events = np.repeat(np.arange(len(counts)), counts)
        k = np.arange(len(events)) - np.repeat(
            np.cumsum(counts) - counts, counts
        )  # of a struct in its vector
        structs = np.empty((len(events), layout.itemsize), np.uint8)
        for kind, offset in ((field[0], field[1]) for field in layout.fields.values()):
            place = first[events] + counts[events] * offset + k * kind.itemsize
            structs[:, offset : offset + kind.itemsize] = data[place[:, None] + np.arange(kind.itemsize)]
        ends = np.concatenate([[0], np.cumsum(self.header_bytes + counts * layout.itemsize)])
        whole = np.zeros(ends[-1], np.uint8)
        header = np.zeros(len(whole), np.bool_)
        header[(ends[:-1, None] + np.arange(self.header_bytes)).ravel()] = True
        whole[~header] = structs.ravel()
        return whole, ends


def _big_endian(data: Any, places: NDArray[np.int64], kind: str) -> NDArray[Any]:
    """Numbers at some places of a basket."""
    size = np.dtype(kind).itemsize
    return np.ascontiguousarray(data[places[:, None] + np.arange(size)]).view(kind)[:, 0]


def _packed(leaf: Any) -> str | None:
    """Name of the type of a leaf, if it is `Double32_t` or `Float16_t`."""
    if leaf.classname != "TLeafElement":
        return _CODES.get(leaf.classname)
    kind = leaf.member("fType")
    return next((_TYPES[kind - base] for base in (0, *_IN_ARRAY) if kind - base in _TYPES), None)


def _of_packed(branch: Any, leaf: Any, kind: str) -> Any:
    """The interpretation of a branch with one leaf of `Double32_t` or `Float16_t`."""
    title = leaf.member("fTitle")
    shape = tuple(int(n) for n in re.findall(r"\[(\d+)\]", title))
    if leaf.classname == "TLeafElement":
        title = branch.streamer.title if branch.streamer is not None else ""
    if not shape and leaf.member("fLen") > 1:  # of each element of a collection
        shape = (int(leaf.member("fLen")),)
    low, high, bits = _range(title)
    if bits and low < high:
        content = (_Double32 if kind == "Double32_t" else _Float16)(low, high, bits, shape)
    elif kind == "Float16_t":
        content = _Float16(0, 0, bits if 0 < bits < _SHORT_MANTISSA else _FLOAT16_BITS, shape)
    elif 0 < bits < _SHORT_MANTISSA:
        content = _Double32(0, 0, bits, shape)
    else:
        content = _floats(shape)
    if leaf.member("fLeafCount") is None:
        return content
    behind_pointer = leaf.classname == "TLeafElement" and leaf.member("fType") > _BEHIND_POINTER
    return AsJagged(content, header_bytes=1 if behind_pointer else 0)  # a byte says whether there are numbers


def _floats(shape: tuple[int, ...]) -> Any:
    return AsDtype(np.dtype((">f4", shape)), np.dtype(("f8", shape)))


class _Arrays:
    """Packed numbers in arrays; the size of an element is that of its array, which lists of arrays need."""

    @property
    def from_dtype(self) -> Any:
        return np.dtype((super().from_dtype, self.to_dims))  # type: ignore[misc, attr-defined]

    def basket_array(self, *arguments: Any) -> Any:
        kind = AsDouble32 if isinstance(self, AsDouble32) else AsFloat16
        flat = kind(self.low, self.high, self.num_bits)  # type: ignore[attr-defined]
        return flat.basket_array(*arguments).reshape(-1, *self.to_dims)  # type: ignore[attr-defined]


class _Double32(_Arrays, AsDouble32):  # type: ignore[misc]
    pass


class _Float16(_Arrays, AsFloat16):  # type: ignore[misc]
    pass


def _range(title: str) -> tuple[float, float, int]:
    """Lower and upper limit and number of bits that a title states; zeros if it states none."""
    for bracket in re.findall(r"\[([^\]]*)\]", title):
        low, comma, rest = bracket.partition(",")
        if comma:
            high, _, bits = rest.partition(",")
            try:
                n = int(bits) if bits.strip() else _MOST_BITS
                return _limit(low), _limit(high), n if _FEWEST_BITS <= n <= _MOST_BITS else _MOST_BITS
            except ValueError:
                return 0.0, 0.0, 0
    return 0.0, 0.0, 0


def _limit(text: str) -> float:
    """A limit as ROOT reads it: a number, or one of the multiples of pi that it knows."""
    if "pi" not in text:
        return float(text)
    factors = {"2pi": 2.0, "2*pi": 2.0, "twopi": 2.0, "pi/2": 0.5, "pi/4": 0.25}
    factor = next((factor for word, factor in factors.items() if word in text), 1.0)
    return math.copysign(factor * math.pi, -1.0 if "-" in text else 1.0)
