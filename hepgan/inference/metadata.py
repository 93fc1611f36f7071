"""The description that an exported file carries, as typed and checked objects, and its reading.

The entry ``hepgan`` of an ONNX file's metadata is JSON; docs/onnx.md is its contract, and the classes below have the
same keys in the same order. An export writes a `Metadata`; `open_model` reads a file and refuses one that is damaged,
from elsewhere, from a newer version, or altered.
"""

from __future__ import annotations

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer, model_validator

from hepgan.config import KINDS, DataConfig
from hepgan.errors import ModelFileError, NotFoundError
from hepgan.files import near
from hepgan.geometry import CaloLayer, Calorimeter, Coordinates
from hepgan.inference.shipped import reference_models

__all__ = [
    "KEY",
    "SCHEMA",
    "TOLERANCE",
    "Condition",
    "Description",
    "Geometry",
    "Latent",
    "Layer",
    "Metadata",
    "ModelFile",
    "Output",
    "Reference",
    "content_digest",
    "open_model",
    "weights_digest",
]

SCHEMA = 1
"""Version of the JSON; increased when a reader of the older version would misread the file."""
TOLERANCE = 1e-5
"""Largest relative difference that counts as equal, if a file does not say another one."""
KEY = "hepgan"
"""Name of the entry in ``metadata_props``."""

Float32 = NDArray[np.float32]
Rows = tuple[tuple[float, ...], ...]


class Part(BaseModel):
    """A table of the description: frozen; keys of later versions are passed over."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, populate_by_name=True)


class Condition(Part):
    """An input of the generator: name, unit, how it enters (`transform`), and where it was trained.

    Attributes:
        range: Smallest and largest trained value; whole numbers of a count.
        integer: Whether it is a count.
        categories: Value of each category; empty for numbers.
    """

    name: str
    unit: str
    transform: Literal["log", "linear", "category"]
    range: tuple[int | float, int | float]
    integer: bool = False
    categories: dict[str, float] = {}

    @property
    def low(self) -> float:
        """Smallest trained value."""
        return self.range[0]

    @property
    def high(self) -> float:
        """Largest trained value."""
        return self.range[1]

    @property
    def expected(self) -> str:
        """The values that are accepted, in words."""
        if self.categories:
            return "one of " + ", ".join(f"{name} = {value:.10g}" for name, value in self.categories.items())
        return f"{self.low:g} to {self.high:g}{self.unit and ' '}{self.unit} (the trained range)"

    def accepts(self, values: Float32) -> NDArray[np.bool_]:
        """Whether each of (B,) values is one of the categories, or in the trained range."""
        if self.categories:
            return np.isin(values, np.asarray(list(self.categories.values()), np.float32))
        return (values >= np.float32(self.low)) & (values <= np.float32(self.high))

    def spanning(self, rows: int) -> NDArray[np.float64]:
        """(rows,) values from end to end of the range, or each category in turn."""
        if self.categories:
            return np.resize(list(self.categories.values()), rows)
        values = (np.geomspace if self.transform == "log" else np.linspace)(self.low, self.high, rows)
        return np.round(values) if self.integer else values

    def stored(self, values: Float32) -> NDArray[Any]:
        """Values as users and files see them: counts and whole codes (PDG) as integers, else float32."""
        codes = self.categories.values()
        whole = self.integer or (codes and all(code.is_integer() for code in codes))
        return values.astype(np.int32) if whole else values


class Latent(Part):
    """Random numbers that the generator takes for each row."""

    size: int = Field(gt=0)
    distribution: Literal["normal"]


class Output(Part):
    """An output of the graph.

    Attributes:
        shape: Without the batch.
        role: Cells of a layer, energies outside the cells, or an observable.
        scale: Typical size of an observable: half of the central 68 %.
        atoms: Values that an observable takes exactly.
    """

    name: str
    unit: str
    shape: tuple[int, ...]
    role: Literal["layer", "overflow", "target"]
    scale: float | None = None
    atoms: tuple[float, ...] | None = None


class Layer(Part):
    """A layer of the calorimeter: keys of `hepgan.geometry.CaloLayer`, and the centre of each cell (mm, C order)."""

    name: str
    shape: tuple[int, int]
    x: tuple[float, ...]
    y: tuple[float, ...]
    z: tuple[float, float]
    coordinates: Coordinates
    cell_centres: Rows

    @classmethod
    def of(cls, layer: CaloLayer) -> Layer:
        """Describe a layer; centres are rounded to a nanometre."""
        return cls(**layer.as_dict(), cell_centres=layer.cell_centres.round(6).tolist())


class Geometry(Part):
    """The calorimeter."""

    unit: str
    layers: tuple[Layer, ...]

    def calorimeter(self) -> Calorimeter:
        """The same as a `Calorimeter`.

        Raises:
            ValueError: If edges do not fit the shape of a layer.
        """
        layers = [layer.model_dump(exclude={"cell_centres"}) for layer in self.layers]
        return Calorimeter.from_dicts(layers, unit=self.unit)


class Reference(Part):
    """Rows to compare with, outputs flattened: (B, n_conditions), (B, n_latent), and (B, size) of each output.

    Attributes:
        tolerance: Relative difference that passes; more than `TOLERANCE` for a generator whose rounding is larger.
    """

    condition: Rows
    latent: Rows
    outputs: dict[str, Rows]
    tolerance: float = Field(TOLERANCE, gt=0)


class Description(Part):
    """All that a file says of its generator, without reference vectors and digests.

    Attributes:
        kind: Name of the kind of data, see `hepgan.config.KINDS`.
        tree: Name of the tree that the training data came from.
        geometry: Of showers; None for tracks.
        data: The ``[data]`` table of the training, with the layers in it instead of the name of a geometry file.
        provenance: Versions, digests, date and step.
        metrics: Headline numbers (value, uncertainty); None where one is not defined.
    """

    schema_version: int = Field(alias="schema")
    kind: str
    tree: str
    conditions: tuple[Condition, ...]
    latent: Latent
    outputs: tuple[Output, ...]
    geometry: Geometry | None = None
    data: DataConfig
    provenance: dict[str, str | int | float | None]
    metrics: dict[str, tuple[float | None, ...]]

    @model_validator(mode="after")
    def _consistent(self) -> Description:
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {list(KINDS)}, got {self.kind!r}")
        if self.data.kind.name != self.kind:
            raise ValueError(f"'data': expected those of {self.kind!r}, got {self.data.kind.name!r}")
        if (self.geometry is None) != (self.data.calorimeter is None):
            got = "none" if self.geometry is None else "one"
            raise ValueError(f"'geometry': expected one for showers and none for tracks, got {got}")
        names = [[condition.name for condition in table] for table in (self.conditions, self.data.conditions)]
        if names[0] != names[1]:
            raise ValueError(f"'conditions': expected {names[1]}, as in the data, got {names[0]}")
        if self.geometry is not None:
            self.geometry.calorimeter()
        return self

    @field_serializer("data")
    def _layers_in_full(self, data: DataConfig) -> dict[str, Any]:
        table = data.model_dump(mode="json", exclude_none=True, exclude={"cache"})  # a place on one machine
        if self.geometry is not None:
            table["calorimeter"]["layers"] = self.geometry.calorimeter().as_dicts()
        return table

    @cached_property
    def calorimeter(self) -> Calorimeter:
        """The geometry.

        Raises:
            ValueError: If the data are observables.
        """
        if self.geometry is None:
            raise ValueError(
                "geometry: expected a calorimeter, got none; the data are observables, not showers"
            )
        return self.geometry.calorimeter()

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON, in the order of the contract; optional keys only where they say something."""
        return self.model_dump(by_alias=True, exclude_defaults=True)


class Metadata(Description):
    """The whole description.

    Attributes:
        reference: Inputs and expected outputs.
        weights_sha256: See `weights_digest`.
        content_sha256: See `content_digest`.
    """

    reference: Reference
    weights_sha256: str
    content_sha256: str

    @model_validator(mode="after")
    def _complete_reference(self) -> Metadata:
        rows = len(self.reference.condition)
        sizes = {"condition": len(self.conditions), "latent": self.latent.size}
        tables = {"condition": self.reference.condition, "latent": self.reference.latent}
        sizes |= {output.name: int(np.prod(output.shape)) for output in self.outputs}
        tables |= self.reference.outputs
        if sizes.keys() != tables.keys():
            raise ValueError(f"'reference': expected rows of {[*sizes]}, got {[*tables]}")
        for name, table in tables.items():
            if not rows or len(table) != rows or any(len(row) != sizes[name] for row in table):
                raise ValueError(
                    f"'reference': {name}: expected {rows or 'some'} rows of {sizes[name]} numbers"
                )
        return self

    def to_json(self) -> str:
        """The text of the entry."""
        return json.dumps(self.as_dict(), allow_nan=False, separators=(",", ":"))


def weights_digest(model: Any) -> str:
    """The sha256 over all initialisers of an ONNX model in the order of their names.

    Each counts with its name in UTF-8, a zero byte, and its raw bytes (little-endian, C order).
    """
    total = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        array = onnx.numpy_helper.to_array(tensor)
        total.update(tensor.name.encode() + b"\0" + array.astype(array.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def content_digest(model: Any) -> str:
    """The sha256 of an ONNX model without its metadata entries."""
    bare = type(model)()
    bare.CopyFrom(model)
    bare.ClearField("metadata_props")
    return hashlib.sha256(bare.SerializeToString()).hexdigest()


class ModelFile(NamedTuple):
    """An exported file that passed all checks of `open_model`.

    Attributes:
        path: The file.
        content: Its bytes.
        model: The same as `onnx.ModelProto`.
        metadata: Its description.
    """

    path: Path
    content: bytes
    model: Any
    metadata: Metadata


def open_model(path: str | Path) -> ModelFile:
    """Read an exported file and check its description and digests.

    Args:
        path: The file, a run folder with a ``model.onnx``, or the name of a reference model; a file or folder of that
            name comes first.

    Raises:
        NotFoundError: If there is no such file.
        ModelFileError: If it is not an ONNX file, not one of hepgan, damaged, of a newer schema, or was altered.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "model.onnx"
    if not path.is_file():
        models = reference_models()
        if str(path) not in models:
            raise NotFoundError(
                f"model not found: {path}; name a .onnx file, a run folder that holds model.onnx, or a reference "
                f"model: {near(str(path), models)}"
            )
        path = models[str(path)]
    content = path.read_bytes()
    model = _parsed(path, content)
    metadata = _described(path, model)
    for name, expected, got in (
        ("weights were", metadata.weights_sha256, weights_digest(model)),
        ("graph was", metadata.content_sha256, content_digest(model)),
    ):
        if got != expected:
            raise ModelFileError(
                f"{path}: the {name} altered: expected sha256 {expected[:16]}..., got {got[:16]}...; take the "
                "original file or export it again"
            )
    return ModelFile(path, content, model, metadata)


def _parsed(path: Path, content: bytes) -> Any:
    try:
        model = onnx.load_from_string(content)
    except (DecodeError, ValueError) as error:
        raise ModelFileError(
            f"{path}: not an ONNX file, or cut short ({error}); copy or export it again"
        ) from error
    if not model.graph.node:
        raise ModelFileError(f"{path}: not an ONNX file: expected a graph, got none; name a .onnx file")
    return model


def _described(path: Path, model: Any) -> Metadata:
    text = {entry.key: entry.value for entry in model.metadata_props}.get(KEY)
    if text is None:
        raise ModelFileError(
            f"{path}: an ONNX file, but not one of hepgan: expected the metadata entry {KEY!r}, got none; name a "
            "file that hepgan export wrote"
        )
    try:
        table = json.loads(text)
        schema = int(table["schema"])
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if schema > SCHEMA:
        raise ModelFileError(
            f"{path}: expected metadata of schema {SCHEMA} or older, got {schema}; the file comes from a newer "
            "hepgan: install that version"
        )
    try:
        return Metadata.model_validate(table)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "missing":
            message = "is missing"
        raise _damaged(path, f"{key!r} {message}" if key else message) from error


def _damaged(path: Path, problem: str) -> ModelFileError:
    return ModelFileError(f"{path}: damaged metadata ({problem}); export the file again")
