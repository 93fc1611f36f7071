"""A study in its folder, as one worker sees it: claim a trial, train it, record and write what came of it."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hepgan import config as configuration
from hepgan.config import Config, TuneConfig
from hepgan.config.checking import tomllib
from hepgan.data.source import cache_of
from hepgan.errors import ConfigError, HepganError, Interrupted, TrainingDiverged
from hepgan.files import write_text
from hepgan.metrics.moments import Measurement
from hepgan.progress import Update
from hepgan.studies.claims import Claims, LostClaim
from hepgan.studies.search_results import Search, TrialResult
from hepgan.studies.spaces import Space, drawn, own_values
from hepgan.training.events import RunEvents
from hepgan.training.loop import train
from hepgan.training.run_folder import RunFolder, changed_keys, load_generator
from hepgan.training.setup import Run
from hepgan.training.validation import ValidationDistance

if TYPE_CHECKING:
    import optuna

__all__ = ["Study", "check_installed"]

logger = logging.getLogger(__name__)

MOST_DEATHS = 3  # of a trial's workers; it may be the trial that kills them, such as by its memory
FRESH = 5  # sets of latent numbers and directions at which the distance of a finished trial is measured
_POLL = 0.5  # seconds
_FEW = 8  # complete trials, with which nothing can be said about the importance of a key
_HALVES = 10


def check_installed() -> None:
    """Raise a ConfigError if Optuna is missing."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            "tune: expected the package optuna, which is not installed; pip install 'hepgan[tune]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)


class Study:
    """A study in its folder, as one worker sees it.

    Args:
        folder: The folder.
        config: The configuration, of which each trial changes the keys of `space`.
        space: Values by key.

    Raises:
        ConfigError: If the folder holds a study of another configuration.
    """

    def __init__(self, folder: Path, config: Config, space: Space) -> None:
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.folder, self.space = folder, space
        self.settings = config.tune or TuneConfig()
        self.base = config.model_copy(update={"tune": None})
        recorded = folder / "study.toml"
        whole = config.model_copy(update={"tune": self.settings.model_copy(update={"space": dict(space)})})
        if recorded.exists():
            before, now = (
                tomllib.loads(configuration.dump(c)) for c in (configuration.load(recorded), whole)
            )
            if changes := changed_keys(before, now):
                raise ConfigError(
                    f"study {folder} was started with another configuration ({'; '.join(changes)}); go on with the "
                    "same one, or start a new study with another --out"
                )
        elif RunFolder(folder).config.exists():
            raise ConfigError(
                f"{folder}: expected a folder for a study, got a run folder; take another --out"
            )
        self.claims = Claims(folder / "running")
        self.journal = folder / "study.journal"
        with self.claims.locked():
            _drop_torn_line(self.journal)
            if not recorded.exists():
                write_text(recorded, configuration.dump(whole))
            # an absolute path: the lock is a link to it
            backend = JournalFileBackend(str(self.journal.resolve()))
            self.study = optuna.create_study(
                storage=JournalStorage(backend),
                study_name="hepgan",
                load_if_exists=True,
                pruner=self._pruner(),
            )
            if not self.study.get_trials(deepcopy=False):
                self.study.enqueue_trial(own_values(space, self.base))

    def _pruner(self) -> optuna.pruners.BasePruner:
        from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner

        steps, every = self.base.training.steps, self.base.training.validate_every
        warm_up = math.ceil(self.settings.warm_up * steps)
        if self.settings.pruner == "median":
            return MedianPruner(n_startup_trials=5, n_warmup_steps=warm_up)
        if self.settings.pruner == "hyperband":
            return HyperbandPruner(min_resource=max(every, warm_up), max_resource=max(steps, every, warm_up))
        return NopPruner()

    def _trials(self) -> list[optuna.trial.FrozenTrial]:
        """Trials that have begun."""
        import optuna

        return [
            trial
            for trial in self.study.get_trials(deepcopy=False)
            if trial.state != optuna.trial.TrialState.WAITING
        ]

    def finished(self) -> int:
        """Number of trials that are over."""
        return sum(trial.state.is_finished() for trial in self._trials())

    def _running(self) -> list[int]:
        return [trial.number for trial in self._trials() if not trial.state.is_finished()]

    # -- one worker

    def work(self, trials: int, update: Update, *, progress: bool) -> None:
        """Train one trial after the other, until the study has as many as asked for and none is left behind."""
        while True:
            trial = self._next(trials)
            if trial is not None:
                self._train(trial, progress=progress)
                self.write_locked()
                update(self.finished(), note=self.note())
            elif not self._someone_stopped():
                return

    def _next(self, trials: int) -> optuna.Trial | None:
        """Claim a trial that its worker left, or a new one; None if the study has enough."""
        import optuna

        with self.claims.locked():
            known = self._trials()
            for frozen in known:
                if frozen.state.is_finished():
                    continue
                died = self.claims.died(frozen.number)
                if died or self.claims.given_back(frozen.number):
                    trial = optuna.Trial(self.study, frozen._trial_id)
                    deaths = frozen.user_attrs.get("deaths", 0) + died
                    trial.set_user_attr("deaths", deaths)
                    if deaths >= MOST_DEATHS:
                        self._tell(
                            trial, "FAIL", f"its process died {deaths} times, such as for lack of memory"
                        )
                        self.claims.path(trial.number).unlink(missing_ok=True)
                        continue
                    self._take(trial)
                    logger.info("trial %04d goes on from its last checkpoint", trial.number)
                    return trial
            if len(known) >= trials:
                return None
            seed = np.random.SeedSequence([self.base.training.seed, len(known)]).generate_state(1)[0]
            self.study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=self.settings.start, seed=int(seed)
            )
            trial = self.study.ask()
            self._take(trial)
            drawn(trial, self.space, self.base)
            return trial

    def _take(self, trial: optuna.Trial) -> None:
        self.claims.take(trial.number)
        trial.set_user_attr("worker", self.claims.owner)

    def _someone_stopped(self) -> bool:
        """Wait for a sign of life of each trial of the other workers; return whether one of them has none."""
        before = self.claims.beats(self._running())
        while before:
            if any(self.claims.died(number) or self.claims.given_back(number) for number in self._running()):
                return True
            now = self.claims.beats(self._running())
            before = {number: beat for number, beat in before.items() if now.get(number) == beat}
            time.sleep(_POLL if before else 0)
        return any(self.claims.given_back(number) for number in self._running())

    def _train(self, trial: optuna.Trial, *, progress: bool) -> None:
        """Train a claimed trial and record what came of it.

        Raises:
            HepganError: If it cannot be trained, and no trial before could.
            OSError: If a file cannot be written; the trial stays and goes on later.
            Interrupted: By a signal; likewise.
        """
        import optuna

        folder = RunFolder(self.folder / "trials" / f"{trial.number:04d}")
        try:
            with self.claims.held(trial.number):
                values = drawn(trial, self.space, self.base)
                data = self.base.model_dump(mode="json", exclude_none=True)
                config = configuration.parse(data, source=f"trial {trial.number:04d}", settings=values)
                train(
                    config,
                    folder.path,
                    resume=folder.config.exists(),
                    progress=progress,
                    validated=lambda run: self._report(trial, run),
                )
                distance = _distance(folder)
                trial.set_user_attr("distance", distance)
                self._tell(trial, "COMPLETE", value=distance[0])
        except optuna.TrialPruned:
            self._tell(trial, "PRUNED")
        except TrainingDiverged as error:
            self._tell(trial, "PRUNED", str(error))
        except Interrupted as stop:
            message = (
                f"trial {trial.number:04d}: stopped at step {stop.step} by request; the same command goes on"
            )
            raise Interrupted(message, run=self.folder, step=stop.step) from None
        except (LostClaim, KeyboardInterrupt):
            raise
        except Exception as error:
            if isinstance(error, OSError) and not isinstance(error, HepganError):
                raise  # of the disk, not of this trial
            logger.warning("trial %04d failed: %s", trial.number, error)
            self._tell(trial, "FAIL", f"{type(error).__name__}: {error}")
            if not any(other.value is not None for other in self._trials()):
                raise

    def _report(self, trial: optuna.Trial, run: Run) -> None:
        """Report all validations that are new, and give the trial up if the others are better."""
        import optuna

        self.claims.check(trial.number)
        known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        for line in map(json.loads, run.folder.log.read_text(encoding="utf-8").splitlines()):
            # the start is left out: pruners take the best so far, and training may be worse than that at first
            if "distance" in line and line["step"] > 0 and line["step"] not in known:
                trial.report(line["distance"], line["step"])
        trial.set_user_attr(
            "best", [run.state.best_step, run.state.best_distance, round(run.state.elapsed, 3)]
        )
        if run.state.step < run.config.training.steps and trial.should_prune():
            raise optuna.TrialPruned

    def _tell(self, trial: optuna.Trial, state: str, reason: str = "", *, value: float | None = None) -> None:
        import optuna

        if reason:
            trial.set_user_attr("reason", reason)
        if state == "COMPLETE" and (value is None or not math.isfinite(value)):
            trial.set_user_attr("reason", "diverged: no validation had a finite distance")
            state, value = "PRUNED", None
        self.study.tell(trial, value, state=optuna.trial.TrialState[state])

    # -- results

    def results(self) -> Search:
        """What came of the trials so far."""
        found = []
        for trial in self._trials():
            reason = trial.user_attrs.get("reason", "")
            best_step, best, seconds = trial.user_attrs.get("best", (None, None, None))
            state = trial.state.name.lower()
            found.append(
                TrialResult(
                    number=trial.number,
                    state="diverged"
                    if state == "pruned" and reason
                    else state
                    if state != "fail"
                    else "failed",
                    reason=reason,
                    parameters=trial.params,
                    distance=trial.user_attrs.get("distance") if state == "complete" else None,
                    smallest=best if best is not None and math.isfinite(best) else None,
                    step=best_step,
                    steps=max(trial.intermediate_values, default=0),
                    seconds=seconds,
                )
            )
        complete = [result for result in found if result.state == "complete"]
        best_trial = min(complete, key=lambda result: result.ranked, default=None)
        return Search(
            model=self.base.model.name,
            objective=self.base.objective.name,
            steps=self.base.training.steps,
            space=dict(self.space),
            best=None if best_trial is None else best_trial.number,
            importance=_importance(self.study),
            trials=found,
        )

    def write_locked(self, *, page: bool = False) -> Search:
        """Write results.json and best.toml, and the page if it is wanted; one worker at a time."""
        with self.claims.locked():
            return self._write(page=page)

    def _write(self, *, page: bool) -> Search:
        results = self.results()
        write_text(self.folder / "results.json", results.model_dump_json(indent=1) + "\n")
        if results.best is not None:
            run = RunFolder(self.folder / "trials" / f"{results.best:04d}")
            write_text(self.folder / "best.toml", run.config.read_text(encoding="utf-8"))
        if page:
            from hepgan.studies.search_page import page_of

            write_text(self.folder / "report.html", page_of(results, title=f"Search: {self.folder.name}"))
        return results

    def note(self) -> str:
        """The best distance, for the progress bar."""
        best = self.results().winner
        return "" if best is None else f"best distance {best.ranked:.4f} (trial {best.number})"


def _distance(folder: RunFolder) -> Measurement:
    """Mean distance of a run's selected generator at latent numbers that did not select it, and its standard error."""
    generator, config, progress = load_generator(folder.path)
    cache = cache_of(config.data, streamed=progress.streamed)
    reference = RunEvents.of(config, cache, device=torch.device("cpu"), progress=False).reference
    values = np.array(
        [
            ValidationDistance(
                reference, generator, kind=config.data.kind, threshold=config.evaluation.threshold, seed=seed
            )(generator)
            for seed in range(1, FRESH + 1)
        ],
        float,
    )
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(FRESH))


def _importance(study: optuna.Study) -> dict[str, Measurement]:
    """Importance of each key and its spread between random halves of the complete trials, the largest first."""
    import optuna

    trials = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(trials) < _FEW:
        return {}
    rng = np.random.default_rng(0)
    samples = [trials] + [
        [trials[k] for k in rng.permutation(len(trials))[: len(trials) // 2]] for _ in range(_HALVES)
    ]
    shares = []
    for sample in samples:
        part = optuna.create_study()
        part.add_trials(sample)
        shares.append(optuna.importance.get_param_importances(part))
    return {
        key: (share, float(np.std([half.get(key, 0.0) for half in shares[1:]], ddof=1)))
        for key, share in shares[0].items()
    }


def _drop_torn_line(journal: Path) -> None:
    """Cut off a line that a power failure left half-written: Optuna could not read past it."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    end = content.rfind(b"\n") + 1
    if end < len(content):
        logger.warning("%s: its last line is cut short and is left out", journal)
        os.truncate(journal, end)
