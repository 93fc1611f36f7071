"""The configuration: one TOML file, frozen models, and errors that name the nearest known key.

The shape of the file is a contract (see docs/config.md); `load` reads it, `dump` writes the complete form
that goes into the run folder, `override` applies ``--set section.key=value``.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hepgan.files import near
from hepgan.geometry import CaloLayer, Calorimeter, Coordinates

if sys.version_info >= (3, 11):
    pass
else:
    pass

from hepgan.config.checking import read_toml, validated
from hepgan.config.kinds import SHOWERS, TRACKS, Kind

__all__ = [
    "CaloModelConfig",
    "CalorimeterConfig",
    "ConditionConfig",
    "Config",
    "DataConfig",
    "DllModelConfig",
    "EvaluationConfig",
    "FlowModelConfig",
    "HitsConfig",
    "LayerConfig",
    "ObjectiveConfig",
    "ObservablesModelConfig",
    "TargetConfig",
    "TrainingConfig",
    "VaeModelConfig",
]


class Table(BaseModel):
    """A table of the TOML file: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ConditionConfig(Table):
    """What the shower or track is conditioned on."""

    name: str = Field(description="name in the exported model")
    branch: str = Field("", description="branch, or an expression of branches; default: the name")
    unit: str = Field("", description="unit of the branch")
    transform: Literal["log", "linear", "category"] = Field(
        "log", description="what the network sees: log x or x, standardised, or which of the categories it is"
    )
    categories: dict[str, float] = Field(
        {}, description="category: the branch's value for each name, as in `{ pi = 211, K = 321 }`"
    )
    integer: bool = Field(
        False,
        description="whole numbers (a count): in training a uniform number from -0.5 to 0.5 is added to each, so that "
        "the network learns a smooth dependence instead of single values",
    )

    @property
    def expression(self) -> str:
        """The branch or expression to read."""
        return self.branch or self.name

    @model_validator(mode="after")
    def _categories_where_needed(self) -> ConditionConfig:
        if (self.transform == "category") != bool(self.categories):
            raise ValueError(
                'transform = "category" and categories = { name = value, ... } belong together; give both or neither'
            )
        if len(set(self.categories.values())) < len(self.categories):
            raise ValueError(f"categories: expected different values, got {self.categories}")
        if self.integer and self.transform == "category":
            raise ValueError("integer = true is for counts; a category is not dithered: leave it out")
        return self


class TargetConfig(Table):
    """An observable that is generated: one number a track (or event)."""

    name: str = Field(description="name in the exported model")
    branch: str = Field("", description="branch, or an expression of branches; default: the name")
    unit: str = Field("", description="unit of the branch")
    transform: Literal["quantile", "log", "linear", "angle"] = Field(
        "quantile",
        description="what the network works in: normal numbers of equal rank; log x or x, standardised; x as an angle "
        "in rad, from 0 to 2 pi (from -pi to pi, if some are negative), where a full turn is no turn",
    )
    atoms: tuple[float, ...] = Field(
        (),
        description="values that occur exactly (sentinels, ties at zero): their probability is learned, and they are "
        "generated exactly; `hepgan inspect` finds them",
    )

    @property
    def expression(self) -> str:
        """The branch or expression to read."""
        return self.branch or self.name


class HitsConfig(Table):
    """Names of the variable-length branches of the `hits` layout."""

    energy: str = Field(description="branch with the energy of each hit")
    layer: str | None = Field(None, description="branch with the layer number of each hit, from 0")
    i: str | None = Field(None, description="branch with the cell number along the first axis")
    j: str | None = Field(None, description="branch with the cell number along the second axis")
    cell: str | None = Field(None, description="branch with the flat cell index; instead of layer, i and j")

    @model_validator(mode="after")
    def _one_address(self) -> HitsConfig:
        by_index = (self.layer, self.i, self.j)
        if (self.cell is None) == (by_index == (None, None, None)) or (
            self.cell is None and None in by_index
        ):
            raise ValueError("give either cell (flat index), or layer, i and j")
        return self


class LayerConfig(Table):
    """One calorimeter layer: segmentation and position (mm)."""

    shape: tuple[int, int] = Field(description="cells along the first and the second axis")
    x: tuple[float, ...] = Field(
        description="[low, high] range or all edges of the first axis; mm, polar: rad, eta-phi: pseudorapidity"
    )
    y: tuple[float, ...] = Field(
        description="range or edges of the second axis; mm, polar: the radius, eta-phi: azimuth (rad)"
    )
    z: tuple[float, float] = Field(description="front and back along the shower axis; mm")
    name: str = Field("", description="name of the layer; default: its branch, or layer_0, layer_1, ...")
    coordinates: Coordinates = Field(
        "cartesian", description="x by y, angle by radius, or pseudorapidity by azimuth of transverse momenta"
    )


class CalorimeterConfig(Table):
    """How the calorimeter's cells are stored, and where they are."""

    layout: Literal["arrays", "cells", "hits"] = Field(
        "arrays", description="one array branch a layer, one scalar branch a cell, or variable-length hits"
    )
    unit: Literal["eV", "keV", "MeV", "GeV", "TeV"] = Field("MeV", description="unit of the cell energies")
    incident_energy: str = Field("incident_energy", description="name of the condition that is the energy")
    branches: tuple[str, ...] = Field((), description="arrays: one branch a layer")
    cells: str = Field("cell_{}", description="cells: branch name with {} for the flat index")
    hits: HitsConfig | None = Field(None, description="hits: names of the variable-length branches")
    overflow: str | None = Field(
        None, description="branch with one number a layer; cells: 'tail' when they follow the cells"
    )
    geometry: str | None = Field(None, description="TOML with [[layers]], or CaloChallenge binning XML")
    particle: str | None = Field(None, description="particle in the binning XML")
    layers: tuple[LayerConfig, ...] = Field((), description="the layers, in the order the shower meets them")

    @model_validator(mode="after")
    def _complete(self) -> CalorimeterConfig:
        if bool(self.layers) == bool(self.geometry):
            raise ValueError("give the layers, or a geometry file, and not both")
        if self.layout == "arrays" and not self.branches:
            raise ValueError("layout 'arrays' needs branches = [...], one a layer")
        if self.layout == "hits" and self.hits is None:
            raise ValueError("layout 'hits' needs hits = { layer, i, j, energy } or { cell, energy }")
        if self.layout == "arrays" and self.layers and len(self.layers) != len(self.branches):
            raise ValueError(
                f"{len(self.branches)} branches for {len(self.layers)} layers; list one branch a layer"
            )
        return self

    def calorimeter(self, *, base: str | Path = ".") -> Calorimeter:
        """The geometry; relative geometry files are looked up below `base`.

        Raises:
            FileNotFoundError: If the geometry file is missing.
            ValueError: If it does not describe a calorimeter.
        """
        if self.geometry is not None:
            path = Path(base, self.geometry)
            if path.suffix.lower() == ".xml":
                return Calorimeter.from_xml(path, particle=self.particle, unit=self.unit)
            tables = read_toml(path).get("layers", [])
            layers = tuple(validated(LayerConfig, table, f"{path}: layers") for table in tables)
        else:
            layers = self.layers
        names = self.branches if self.layout == "arrays" else tuple(f"layer_{k}" for k in range(len(layers)))
        if len(names) != len(layers):
            raise ValueError(
                f"{self.geometry}: {len(layers)} layers for {len(names)} branches; list one branch a layer"
            )
        return Calorimeter(
            tuple(
                CaloLayer(
                    shape=layer.shape,
                    x=layer.x,
                    y=layer.y,
                    z=layer.z,
                    name=layer.name or name,
                    coordinates=layer.coordinates,
                )
                for layer, name in zip(layers, names, strict=True)
            ),
            self.unit,
        )


class DataConfig(Table):
    """Which events of which files are read, and how they are split."""

    files: tuple[str, ...] = Field(description="paths, globs or URLs")
    tree: str = Field("", description="TTree or RNTuple; may be empty when the file holds one")
    cut: str | None = Field(None, description="expression of branches; events where it is false are left out")
    weight: str | None = Field(None, description="branch or expression with the event weight")
    conditions: tuple[ConditionConfig, ...] = Field(description="what the generator is conditioned on")
    calorimeter: CalorimeterConfig | None = Field(None, description="the cells, or ...")
    targets: tuple[TargetConfig, ...] = Field((), description="... the observables; one of the two")
    ties: bool = Field(
        False, description="targets that are exactly equal in an event stay exactly equal when generated"
    )
    max_events: int | None = Field(None, gt=0, description="read at most this many events")
    chunk: str = Field("64 MB", description="uproot step size: how much is decompressed at once")
    validation: float = Field(0.1, gt=0, lt=1, description="fraction that selects the checkpoint")
    test: float = Field(0.1, ge=0, lt=1, description="fraction never used in training, for evaluate")
    test_files: tuple[str, ...] = Field((), description="files for evaluate; replaces the test fraction")

    @model_validator(mode="after")
    def _plausible(self) -> DataConfig:
        if not self.files:
            raise ValueError("files is empty; name at least one ROOT file")
        if not self.conditions:
            raise ValueError("conditions is empty; a conditional generator needs at least one")
        names = [condition.name for condition in self.conditions]
        both = names + [target.name for target in self.targets]
        repeated = [name for name in both if both.count(name) > 1]
        if repeated:
            raise ValueError(
                f"names of conditions and targets must differ, got {repeated[0]!r} twice; rename one of them"
            )
        if (self.calorimeter is None) == (not self.targets):
            got = "both" if self.targets else "none"
            raise ValueError(
                "expected either [data.calorimeter] (showers) or [[data.targets]] (observables of tracks), got "
                f"{got}; hepgan inspect FILE.root --config writes one of them"
            )
        if self.calorimeter is not None:
            self._one_incident_energy(self.calorimeter.incident_energy, names)
        if self.validation + self.test >= 1:
            raise ValueError(f"validation {self.validation} + test {self.test} leave nothing to train on")
        return self

    def _one_incident_energy(self, name: str, names: list[str]) -> None:
        if name not in names:
            raise ValueError(
                f"calorimeter.incident_energy is {name!r}, but the conditions are {names}; name the condition that is "
                "the incident energy"
            )
        units = get_args(CalorimeterConfig.model_fields["unit"].annotation)
        for condition in self.conditions:
            if condition.name == name and condition.unit not in (*units, ""):
                raise ValueError(
                    f"unit of condition {condition.name!r}: expected one of {list(units)}, got "
                    f"{condition.unit!r}; change the unit"
                )

    @property
    def kind(self) -> Kind:
        """The kind of data: showers or tracks."""
        return TRACKS if self.calorimeter is None else SHOWERS

    @property
    def calo(self) -> CalorimeterConfig:
        """The cells.

        Raises:
            ValueError: If the data are observables.
        """
        if self.calorimeter is None:
            raise ValueError(
                "data.calorimeter: expected a table, got none; the data are observables, not showers"
            )
        return self.calorimeter


class CaloModelConfig(Table):
    """Size of generator and critic of showers."""

    name: Literal["calo"] = Field("calo", description="the pair of generator and critic")
    latent: int = Field(32, gt=0, description="latent numbers shared by all cells of a shower")
    cell_latent: int = Field(1, gt=0, description="latent numbers of each cell's own")
    width: int = Field(64, gt=0, description="units of each dense layer")
    depth: int = Field(3, gt=0, description="dense layers of the trunk")
    channels: int = Field(4, gt=0, description="filters of each locally connected layer")
    paint: Literal["locally-connected", "convolution"] = Field(
        "locally-connected",
        description="what looks at images and paints them: windows with weights of their own at each cell, or shared "
        "ones (DCGAN, arXiv:1511.06434), in generator and critic",
    )
    statistics: Literal["cells", "layers"] = Field(
        "cells",
        description="what the training starts from: quantiles of each cell and correlations of all, or quantiles of "
        "each layer, which know no position, and no correlations",
    )
    critic_width: int = Field(128, gt=0, description="units of each dense layer of the critic")
    critic_depth: int = Field(3, gt=0, description="dense layers of the critic")
    critic_channels: int = Field(4, gt=0, description="filters of each locally connected layer of the critic")


class ObservablesModelConfig(Table):
    """What all models of observables have."""

    name: str
    width: int = Field(64, gt=0, description="units of each hidden layer")
    depth: int = Field(4, ge=0, description="hidden layers after the first")
    hinges: int = Field(32, gt=1, description="places where the response to each condition may bend sharply")
    knots: int = Field(65, gt=2, description="knots of each target's quantile transform")
    critic_width: int = Field(128, gt=0, description="units of each residual block of the critic")
    critic_depth: int = Field(4, ge=0, description="residual blocks of the critic")


class DllModelConfig(ObservablesModelConfig):
    """Size of generator and critic of observables."""

    name: Literal["dll"] = Field("dll", description="the pair of generator and critic")
    latent: int = Field(16, gt=0, description="latent numbers; one more where there are atoms")


class VaeModelConfig(ObservablesModelConfig):
    """Conditional variational autoencoder of observables; objective `likelihood` or `alpha-gan`."""

    name: Literal["vae"] = Field("vae", description="autoencoder; only its decoder is exported")
    latent: int = Field(4, gt=0, description="numbers of a code")
    likelihood: Literal["normal", "synthetic"] = Field(
        "normal",
        description="`normal`: the decoder gives mean and spread of each target; `synthetic`: it gives the target "
        "itself, a critic judges it (objective `alpha-gan`), and another one its codes",
    )
    reconstruction: float = Field(
        1.0, ge=0, description="synthetic: weight of the distance of an event to its reconstruction"
    )


class FlowModelConfig(ObservablesModelConfig):
    """Conditional normalising flow of observables; objective `likelihood`, or any game (extra: flows)."""

    name: Literal["flow"] = Field("flow", description="flow of coupling layers, invertible")
    depth: int = Field(1, ge=0, description="hidden layers of a coupling after the first")
    coupling: Literal["affine", "spline"] = Field(
        "spline", description="RealNVP, or rational-quadratic splines (neural spline flow)"
    )
    transforms: int = Field(6, gt=1, description="couplings; each moves half of the targets")
    bins: int = Field(8, gt=1, description="spline: pieces")


class ObjectiveConfig(Table):
    """What generator and critic minimise."""

    name: str = Field("wgan-gp", description="the game or score; docs/objectives.md has the table")
    regulariser: str = Field(
        "own",
        description="what keeps the critic from becoming too steep: `none`, `wgan-gp`, `one-sided`, `dragan`, `r1`, "
        "`clip`; `own`: the objective's",
    )
    penalty: float = Field(5.0, ge=0, description="lambda, strength of the gradient penalty")
    clip: float = Field(
        0.01, gt=0, description="regulariser `clip`: largest magnitude of the critic's weights"
    )
    n_critic: int = Field(3, gt=0, description="critic steps for each generator step")
    spectral_norm: bool = Field(
        False,
        description="divide each weight matrix of the critic by its largest singular value (arXiv:1802.05957); not for "
        "locally connected layers",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="probability with which the critic is told that a real event is a generated one; for games of "
        "probabilities",
    )


class TrainingConfig(Table):
    """The training loop."""

    steps: int = Field(20000, gt=0, description="generator steps")
    batch_size: int = Field(256, gt=1, description="events of each step")
    seed: int = Field(1, ge=0, description="seed of split, weights, batches and latent numbers")
    lr_generator: float = Field(5e-5, gt=0, description="learning rate of the generator (Adam)")
    lr_critic: float = Field(5e-4, gt=0, description="learning rate of the critic (Adam)")
    betas: tuple[float, float] = Field((0.0, 0.9), description="Adam's beta1 and beta2")
    decay: float = Field(0.1, gt=0, le=1, description="learning rates fall to this fraction (cosine)")
    pretrain: int = Field(
        0,
        ge=0,
        description="steps before the game: the generator minimises the energy score, without a critic",
    )
    warm_up: int = Field(100, ge=0, description="steps of the critic alone, after those")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the generator's averaged weights")
    grad_clip: float = Field(0.0, ge=0, description="largest gradient norm; 0: no clipping")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA when there is one")
    precision: Literal["float32", "bf16"] = Field("float32", description="bf16: autocast of matrix products")
    threads: int = Field(0, ge=0, description="CPU threads; 0: torch's choice, OMP_NUM_THREADS or all cores")
    log_every: int = Field(50, gt=0, description="steps between lines of metrics.jsonl")
    validate_every: int = Field(500, gt=0, description="steps between physics distances and checkpoints")
    max_minutes: float | None = Field(
        None, gt=0, description="stop after this much training time; the learning rate follows the steps"
    )
    tensorboard: bool = Field(False, description="also write TensorBoard curves (extra: tensorboard)")


LIMITS = {
    "response": 0.03,
    "fractions": 0.05,
    "occupancy": 0.10,
    "ks_mean": 0.03,
    "ks_max": 0.08,
    "auc": 0.60,
    "efficiency": 0.02,
    "atoms": 0.01,
}
"""Defaults of ``evaluation.limits``: largest relative bias of the response in every energy bin, and of the mean energy
fraction and occupancy of every layer; largest Kolmogorov-Smirnov distance in bins (mean and maximum), area under the
ROC curve, and absolute difference of an efficiency and of a share of exact values in bins of about 1000 tracks."""

ROW_KEYS = (
    *("response_bias_worst", "resolution_bias_worst", "longitudinal_worst", "lateral_worst"),
    *("cell_spectrum_worst", "cell_correlations_worst", "classifier_auc", "single_auc_worst"),
    *("separation_worst", "efficiency_worst", "atoms_worst", "ks_projected", "correlations_worst"),
    *("sliced_wasserstein", "mmd", "fpd", "kpd", "emd", "critic"),
    *("repeats", "duplicates", "copies", "species_score", "similarity_worst"),
    *("network_auc_low", "network_auc_high", "challenge_fpd", "challenge_kpd"),
)
"""Rows of the verdict that may have a limit of their own, beside those of each layer or condition."""
ROW_PREFIXES = ("fraction_bias_", "occupancy_bias_", "auc_worst_", "ks_worst_")
"""Beginnings of the keys of rows of each layer (the first two) and of each condition."""


class EvaluationConfig(Table):
    """What evaluate measures."""

    threshold: float = Field(0.0, ge=0, description="energy above which a cell counts as hit (cell unit)")
    bins: int = Field(40, gt=1, description="bins of each histogram")
    energy_bins: int = Field(8, gt=0, description="bins of the first condition in the closure figures")
    folds: int = Field(5, gt=1, description="folds of the classifier two-sample test")
    max_events: int = Field(20000, gt=1, description="compare at most this many held-out events")
    condition_bins: int = Field(20, gt=0, description="quantile bins of each condition, at most")
    cuts: tuple[str, ...] = Field(
        (),
        description="observables: cuts whose efficiency is measured, expressions of targets as in `RichDLLk > 0`; "
        "default: above the median of each target",
    )
    fast: bool = Field(False, description="leave out what takes minutes: transport, critic, copies, all bins")
    networks: bool = Field(
        False, description="train CaloChallenge's two classifier networks too (hours without a GPU)"
    )
    limits: dict[str, float] = Field(
        LIMITS,
        description="largest size that the verdict calls good, as in `{ response = 0.02, classifier_auc = 0.8 }`: of "
        "the defaults, which stay where they are not named, or of any row of the verdict by its key in metrics.json",
    )

    @field_validator("limits")
    @classmethod
    def _limits_have_names(cls, given: dict[str, float]) -> dict[str, float]:
        """The defaults with the given limits; unknown names are refused."""
        known = [*LIMITS, *ROW_KEYS]
        for name, limit in given.items():
            if name not in known and not name.startswith(ROW_PREFIXES):
                raise ValueError(f"there is no limit {name!r}; {near(name, [*known, *ROW_PREFIXES])}")
            if not limit >= 0:
                raise ValueError(f"{name}: expected a limit that is not negative, got {limit:g}; correct it")
        return LIMITS | given


class Config(Table):
    """The whole file."""

    data: DataConfig
    model: Annotated[
        CaloModelConfig | DllModelConfig | VaeModelConfig | FlowModelConfig, Field(discriminator="name")
    ]
    objective: ObjectiveConfig = ObjectiveConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    @model_validator(mode="before")
    @classmethod
    def _model_of_the_kind(cls, values: Any) -> Any:
        """Without a name, the model is the one of the data's kind."""
        if not isinstance(values, Mapping) or not isinstance(values.get("data"), Mapping):
            return values
        name = (TRACKS if values["data"].get("targets") else SHOWERS).models[0]
        model = values.get("model", {})
        return {**values, "model": {"name": name, **model}} if isinstance(model, Mapping) else values

    @model_validator(mode="after")
    def _model_fits_the_data(self) -> Config:
        kind = self.data.kind
        if self.model.name not in kind.models:
            *others, last = map(repr, kind.models)
            wanted = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(
                f"model.name: expected {wanted} for {kind.name}, got {self.model.name!r}; leave it out"
            )
        return self
