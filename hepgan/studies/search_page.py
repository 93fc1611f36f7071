"""Page of a search for settings: report.html in the folder of the study."""

from __future__ import annotations

import math

import numpy as np

from hepgan.evaluation.verdict import format_measurement
from hepgan.report.curves import ranking
from hepgan.report.page import Grid, Section, render_sections
from hepgan.report.searches import Trials, search_history, search_scatter
from hepgan.studies.search_results import MEANING, Search, TrialResult

__all__ = ["page_of", "table"]

_COLOURS = {"complete": "pass", "pruned": "info", "running": "info", "diverged": "warn", "failed": "fail"}
_BIAS = (
    "The winner is the luckiest of many trials as well as the best: expect its distance to be larger with another seed "
    "and on other events. Train best.toml with other seeds (docs/tuning.md), and quote those numbers, or the "
    "evaluation on test events, not this one."
)


def page_of(search: Search, *, title: str) -> str:
    """Make the page, as text.

    Args:
        search: The results.
        title: Heading of the page.
    """
    shown = [trial for trial in search.trials if math.isfinite(trial.ranked)]
    sections = []
    if shown:
        best = next((k for k, trial in enumerate(shown) if trial.number == search.best), None)
        trials = Trials(
            np.array([trial.ranked for trial in shown]),
            np.array([trial.distance[1] if trial.distance else 0.0 for trial in shown]),
            np.array([trial.state == "complete" for trial in shown]),
            best,
        )
        sections = [
            Section(
                "history",
                "Distance of each trial",
                "Distance of each complete trial, smallest validation distance of each that was given up; the line is "
                "the smallest of the complete ones so far. Good: the line falls at "
                "first and then levels out. If it still falls at the end, ask for more trials.",
                search_history(np.array([trial.number for trial in shown]), trials),
            ),
            Section(
                "settings",
                "Distance against each setting",
                "Good: a valley inside the range. If the best trials lie at an end of a range, widen it.",
                search_scatter(
                    {key: [trial.parameters[key] for trial in shown] for key in search.space},
                    trials,
                    logarithmic=[key for key, dimension in search.space.items() if dimension.log],
                    categories=[key for key, dimension in search.space.items() if dimension.choices],
                ),
            ),
        ]
    if search.importance:
        values = np.array([*search.importance.values()])
        sections.append(
            Section(
                "importance",
                "Importance of each setting",
                "Share of the setting in the difference between the best trials and all (PED-ANOVA, arXiv:2304.10255); "
                "error bars: spread between random halves of the complete trials. Within their errors equal settings "
                "are not told apart.",
                ranking([*search.importance], values, None, axis="importance", start=0.0),
            )
        )
    heading, rows = table(search)
    coloured = [
        [(cells[0], ""), (cells[1], _COLOURS[trial.state]), *((cell, "") for cell in cells[2:])]
        for cells, trial in zip(rows, _in_order(search), strict=True)
    ]
    caption = f"The best complete trial first. {MEANING} The first trial is the configuration itself."
    sections.append(Section("trials", "Trials", caption, grid=Grid(heading, coloured)))
    return render_sections(sections, title=title, lead=f"{_lead(search)} {_BIAS if search.winner else ''}")


def _in_order(search: Search) -> list[TrialResult]:
    """Trials by their distance, complete ones first."""
    return sorted(
        search.trials,
        key=lambda trial: (trial.state != "complete", trial.ranked, trial.number),
    )


def _lead(search: Search) -> str:
    """The outcome in a sentence or two."""
    states = [trial.state for trial in search.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in _COLOURS if state in states)
    text = f"{len(states)} trials of model {search.model} with objective {search.objective}: {counts}."
    if (winner := search.winner) is None:
        return f"{text} None is complete yet."
    first = search.trials[0]
    own = f"; the configuration itself: {format_measurement(first.distance)}" if first.distance else ""
    return f"{text} The best is trial {winner.number}: distance {format_measurement(winner.distance)}{own}."


def table(search: Search) -> tuple[list[str], list[list[str]]]:
    """Headings and cells of the table of trials, the best complete one first.

    Args:
        search: The results.
    """
    heading = ["trial", "state", "distance", "smallest", "best step", "minutes", *search.space, "remark"]
    rows = [
        [
            f"{trial.number:04d}",
            trial.state,
            "" if trial.distance is None else format_measurement(trial.distance),
            "" if trial.smallest is None else f"{trial.smallest:.4g}",
            f"{trial.step or 0} of {trial.steps}",
            "" if trial.seconds is None else f"{trial.seconds / 60:.1f}",
            *(_text(trial.parameters.get(key, "")) for key in search.space),
            trial.reason,
        ]
        for trial in _in_order(search)
    ]
    if not any(row[-1] for row in rows):
        return heading[:-1], [row[:-1] for row in rows]
    return heading, rows


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
