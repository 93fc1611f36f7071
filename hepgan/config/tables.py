"""The tables of the configuration beside ``[data]``, and the whole file (`Config`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from hepgan.config.checking import Table, shown
from hepgan.config.data import DataConfig
from hepgan.config.kinds import SHOWERS, TRACKS
from hepgan.config.tuning import TuneConfig, check_space
from hepgan.files import near

__all__ = [
    "CaloModelConfig",
    "Config",
    "DllModelConfig",
    "EvaluationConfig",
    "FlowModelConfig",
    "ObjectiveConfig",
    "ObservablesModelConfig",
    "StrataConfig",
    "TrainingConfig",
    "VaeModelConfig",
]


class CaloModelConfig(Table):
    """Size of the generator and the critic of showers."""

    name: Literal["calo"] = Field("calo", description="the architecture")
    latent: int = Field(32, gt=0, description="latent numbers shared by all cells of a shower")
    cell_latent: int = Field(1, gt=0, description="further latent numbers for each cell alone")
    width: int = Field(64, gt=0, description="units of each dense layer")
    depth: int = Field(3, gt=0, description="dense layers that all calorimeter layers share")
    channels: int = Field(4, gt=0, description="filters of each locally connected layer")
    paint: Literal["locally-connected", "convolution"] = Field(
        "locally-connected",
        description="layers that produce and judge images: windows with separate weights at each cell, or with shared "
        "weights (DCGAN, arXiv:1511.06434)",
    )
    statistics: Literal["cells", "layers", "rings"] = Field(
        "cells",
        description="statistics that the generator starts from: quantiles of each cell and correlations of all cells; "
        "`rings`: quantiles of each ring of polar layers given the energy of its layer, and correlations of all cells "
        "(thousands of cells around the axis of the particle); `layers`: quantiles of each layer, without positions "
        "and correlations",
    )
    critic_width: int = Field(128, gt=0, description="units of each dense layer of the critic")
    critic_depth: int = Field(3, gt=0, description="dense layers of the critic")
    critic_channels: int = Field(4, gt=0, description="filters of each locally connected layer of the critic")


class ObservablesModelConfig(Table):
    """Keys that all models of observables share."""

    name: str
    width: int = Field(64, gt=0, description="units of each hidden layer")
    depth: int = Field(4, ge=0, description="hidden layers after the first")
    hinges: int = Field(
        32, gt=1, description="points at which the dependence on each condition may change its slope"
    )
    knots: int = Field(65, gt=2, description="knots of the quantile transform of each target")
    critic_width: int = Field(128, gt=0, description="units of each residual block of the critic")
    critic_depth: int = Field(4, ge=0, description="residual blocks of the critic")
    ranks: int = Field(
        0,
        ge=0,
        description="steps, before the training, in which a network learns how targets are distributed at each "
        "condition; critic and energy score then see their ranks too; 0: no ranks",
    )


class DllModelConfig(ObservablesModelConfig):
    """Size of the generator and the critic of observables."""

    name: Literal["dll"] = Field("dll", description="the architecture")
    latent: int = Field(16, gt=0, description="latent numbers; one more if there are atoms")


class VaeModelConfig(ObservablesModelConfig):
    """Conditional variational autoencoder of observables; objective `likelihood` or `alpha-gan`."""

    name: Literal["vae"] = Field("vae", description="autoencoder; only its decoder is exported")
    latent: int = Field(4, gt=0, description="latent numbers (size of a code)")
    likelihood: Literal["normal", "synthetic"] = Field(
        "normal",
        description="`normal`: the decoder gives mean and spread of each target; `synthetic`: it gives the targets, "
        "and critics judge targets and codes (objective `alpha-gan`)",
    )
    reconstruction: float = Field(
        1.0, ge=0, description="synthetic: weight of the distance of an event to its reconstruction"
    )


class FlowModelConfig(ObservablesModelConfig):
    """Conditional normalising flow of observables; objective `likelihood` or any game (needs the extra `flows`)."""

    name: Literal["flow"] = Field("flow", description="invertible flow of coupling layers")
    depth: int = Field(1, ge=0, description="hidden layers of each coupling after the first")
    coupling: Literal["affine", "spline"] = Field(
        "spline", description="RealNVP, or rational-quadratic splines (neural spline flow)"
    )
    transforms: int = Field(6, gt=1, description="couplings; each transforms half of the targets")
    bins: int = Field(8, gt=1, description="spline: pieces of each function")


class ObjectiveConfig(Table):
    """The losses of generator and critic."""

    name: str = Field("wgan-gp", description="the game or score, from the tables in docs/objectives.md")
    regulariser: str = Field(
        "own",
        description="limit on the slope of the critic: `none`, `wgan-gp`, `one-sided`, `dragan`, `r1`, `clip`, or "
        "`own` for the default of the objective",
    )
    penalty: float = Field(5.0, ge=0, description="lambda, strength of the gradient penalty")
    clip: float = Field(
        0.01, gt=0, description="regulariser `clip`: largest magnitude of the critic's weights"
    )
    n_critic: int = Field(3, gt=0, description="critic steps for each generator step")
    spectral_norm: bool = Field(
        False,
        description="divide each weight matrix of the critic by its largest singular value (arXiv:1802.05957); not "
        "available for locally connected layers",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0,
        lt=0.5,
        description="probability with which a real event is labelled as generated for the critic; for games of "
        "probabilities",
    )
    score: float = Field(
        0.0,
        ge=0,
        description="weight of the energy score that the generator lowers together with the loss of its game; "
        "the score holds the distributions, the critic finds what the score does not see",
    )


_Beta = Annotated[float, Field(ge=0, lt=1)]


class StrataConfig(Table):
    """Bins of a condition that batches take equal shares of, for ``training.sampling = "strata"``."""

    condition: str = Field("", description="name of the condition; default: the first one")
    bins: int = Field(
        10,
        gt=1,
        le=1000,
        description="bins of equal width (of the logarithm where `transform` takes it) over the range of the training "
        "events; a category is a bin",
    )
    undo: bool = Field(
        True,
        description="weight the drawn events so that the losses keep their expectation; false: the training sees a "
        "spectrum that is flat in these bins",
    )


class TrainingConfig(Table):
    """Length, step sizes and device of the training."""

    steps: int = Field(20000, gt=0, description="generator steps")
    batch_size: int = Field(256, gt=1, description="events of each step")
    seed: int = Field(
        1, ge=0, description="seed of the split, the initial weights, batches and latent numbers"
    )
    lr_generator: float = Field(5e-5, gt=0, description="learning rate of the generator (Adam)")
    lr_critic: float = Field(5e-4, gt=0, description="learning rate of the critic (Adam)")
    betas: tuple[_Beta, _Beta] = Field((0.0, 0.9), description="Adam's beta1 and beta2")
    decay: float = Field(0.1, gt=0, le=1, description="fraction to which the learning rates fall (cosine)")
    pretrain: int = Field(
        0,
        ge=0,
        description="first steps, in which the generator minimises the energy score, without a critic",
    )
    warm_up: int = Field(100, ge=0, description="steps of the critic alone, after `pretrain`")
    ema: float = Field(0.999, ge=0, lt=1, description="decay of the generator's averaged weights")
    grad_clip: float = Field(0.0, ge=0, description="largest gradient norm; 0: no clipping")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA if available")
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto",
        description="of products with weights; `bf16`: autocast, sums stay in single precision; `auto`: bf16 in "
        "networks of showers on processors that multiply such numbers, else float32",
    )
    threads: int = Field(
        0, ge=0, description="CPU threads of each worker; 0: OMP_NUM_THREADS, or an equal share of all cores"
    )
    log_every: int = Field(50, gt=0, description="steps between lines of metrics.jsonl")
    validate_every: int = Field(500, gt=0, description="steps between validations, each with a checkpoint")
    select: Literal["distance", "classifier"] = Field(
        "distance",
        description="number whose smallest value at a validation selects the exported step: `distance` between "
        "single observables; `classifier`: mean area under the ROC curves of classifiers that tell generated from "
        "validation events, which see how observables vary together and take some seconds (docs/model.md)",
    )
    save_every_minutes: float = Field(
        5.0,
        gt=0,
        description="minutes between checkpoints where validations, which also save one, take longer",
    )
    sampling: Literal["uniform", "weights", "strata"] = Field(
        "uniform",
        description="how batches are drawn: each event alike, with its weight in the losses; in proportion to the size "
        "of its `weights`, of which the losses keep the sign; in equal shares from the `strata` below",
    )
    strata: StrataConfig = StrataConfig()
    start_events: int = Field(
        100_000,
        gt=0,
        description="when events are streamed from a cache: the statistics of the start are fitted to at most this "
        "many random training events (and at most 256 MB of them)",
    )
    validation_events: int = Field(
        20_000,
        gt=0,
        description="when events are streamed from a cache: at most this many random validation events (and at most "
        "64 MB of them) select the checkpoint",
    )
    max_minutes: float | None = Field(
        None, gt=0, description="stop after this training time; the learning rate still depends on `steps`"
    )
    tensorboard: bool = Field(
        False, description="also write TensorBoard curves (needs the extra `tensorboard`)"
    )


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
    *("centre_worst", "slope_worst"),
    *("separation_worst", "efficiency_worst", "atoms_worst", "ks_projected", "correlations_worst"),
    *("sliced_wasserstein", "mmd", "fpd", "kpd", "emd", "critic"),
    *("repeats", "duplicates", "copies", "species_score", "similarity_worst"),
    *("network_auc_low", "network_auc_high", "challenge_fpd", "challenge_kpd"),
)
"""Rows of the verdict that may have a limit of their own, beside those of each layer or condition."""
LAYER_ROWS = ("fraction_bias_", "occupancy_bias_")
CONDITION_ROWS = ("auc_worst_", "ks_worst_", "auc_withheld_", "response_worst_", "fraction_worst_")
ROW_PREFIXES = (*LAYER_ROWS, *CONDITION_ROWS)
"""Beginnings of the keys of rows of each layer and of each condition."""


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
    limits: dict[str, Annotated[float, Field(allow_inf_nan=True)]] = Field(
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
    tune: TuneConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _model_of_the_kind(cls, values: Any) -> Any:
        """Without a name, take the default model for the kind of the data."""
        if not isinstance(values, Mapping) or not isinstance(values.get("data"), Mapping):
            return values
        name = (TRACKS if values["data"].get("targets") else SHOWERS).models[0]
        model = values.get("model", {})
        return {**values, "model": {"name": name, **model}} if isinstance(model, Mapping) else values

    @model_validator(mode="after")
    def _strata_are_of_a_condition(self) -> Config:
        name, known = self.training.strata.condition, [c.name for c in self.data.conditions]
        if name and name not in known:
            raise ValueError(
                f"training.strata.condition: there is no condition {shown(name)}; {near(name, known)}"
            )
        return self

    @model_validator(mode="after")
    def _model_fits_the_data(self) -> Config:
        kind = self.data.kind
        if self.model.name not in kind.models:
            *others, last = map(repr, kind.models)
            wanted = f"{', '.join(others)} or {last}" if others else last
            raise ValueError(
                f"model.name: expected {wanted} for {kind.name}, got {self.model.name!r}; leave it out"
            )
        if self.tune is not None:
            check_space(self.tune.space, dict(self))
        return self
