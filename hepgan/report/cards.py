"""Cards of the reference models: what one was made of, how good it is, where it holds, and where it fails.

``NAME.json`` is a `Card`; `markdown` writes it, with what the model's own file says of itself, as ``NAME.md``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from hepgan.errors import DataError
from hepgan.evaluation.records import Number, Record
from hepgan.evaluation.verdict import VERDICTS, Row, format_limit, format_measurement
from hepgan.inference.metadata import Metadata
from hepgan.inference.shipped import reference_model

__all__ = ["Card", "Recheck", "Training", "disagreements", "markdown", "notable", "read_card"]

_MOST_FAILURES = 5  # rows of a card that are named for being far above their floors
_NOTABLE = 2.0  # standard deviations above the floor from which a row is named
_ALLOWED = 3.0  # standard deviations within which a number that is measured again is the same
_SIGNLESS = "_worst"  # end of keys of the worst of several numbers: its sign is that of another one each time
_SAVED = 3  # digits of a condition in an example


class Training(Record):
    """How a model was trained."""

    data: str
    """The training events: where they come from, and how many."""
    command: str
    config: str
    """The complete configuration, as TOML."""
    seed: int
    steps: int
    """Steps that were taken."""
    selected: int
    """Step whose generator had the smallest validation distance."""
    hours: float
    device: str


class Recheck(Record):
    """A small measurement that is quick to repeat; a test does, with other random numbers."""

    sample: str
    """File of the reference events, from the root of a checkout; or ``toy NAME``: as many fresh ones."""
    events: int
    seed: int
    settings: dict[str, list[str] | bool]
    """Of the evaluation."""
    options: dict[str, list[str]] = {}
    """Of the toy."""
    numbers: dict[str, Number]


class Card(Record):
    """The numbers and sentences of a card."""

    name: str
    what: str
    """The model in a line."""
    training: Training
    reference: str
    """The events of the measurement, which no choice was made with."""
    events: int
    """Number of them."""
    rows: list[Row]
    """Rows of the verdict."""
    recheck: Recheck
    unsuitable: list[str]
    """What the model must not be used for."""
    failures: list[str]
    """Failures that no row shows."""
    licence: str
    sha256: str
    """Digest of the model's file."""

    @property
    def auc(self) -> Row:
        """The row of the classifier's area."""
        return next(row for row in self.rows if row.section == "classifier")


def read_card(name: str) -> Card:
    """Read the card of a reference model.

    Raises:
        NotFoundError: If there is no such model.
        DataError: If its card is missing or damaged.
    """
    path = reference_model(name).with_suffix(".json")
    try:
        return Card.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError) as error:
        raise DataError(f"{path}: expected the card of a reference model ({error}); install again") from error


def disagreements(
    card: Mapping[str, Number], again: Mapping[str, Number], *, allowed: float = _ALLOWED
) -> list[str]:
    """Find numbers that, measured again, are not those of the card within their uncertainties.

    Args:
        card: Numbers of the card by name; names that end in ``_worst`` are compared by their size.
        again: The same, measured on as many events.
        allowed: Combined standard deviations.

    Returns:
        A sentence for each number that differs or is missing.
    """
    found = []
    for name in card.keys() | again.keys():
        if name not in card or name not in again:
            found.append(f"{name}: not in the {'card' if name in again else 'new measurement'}")
            continue
        (a, da), (b, db) = card[name], again[name]
        if name.endswith(_SIGNLESS):
            a, b = abs(a), abs(b)
        if not abs(a - b) <= allowed * math.hypot(da, db):
            found.append(f"{name}: expected {a:.4g} ± {da:.2g}, got {b:.4g} ± {db:.2g}")
    return sorted(found)


def markdown(card: Card, metadata: Metadata, *, size: int) -> str:
    """Write a card as Markdown.

    Args:
        card: The card.
        metadata: What the model's file says of itself.
        size: Of the file (bytes).
    """
    training = card.training
    facts = {
        "file": f"`{card.name}.onnx`, {size / 1e6:.1f} MB, sha256 `{card.sha256[:16]}...`",
        "made": f"{metadata.provenance['created']}, hepgan {metadata.provenance['hepgan']}",
        "training": f"step {training.selected} of {training.steps}, seed {training.seed}, {training.hours:.2g} h on "
        f"{training.device}",
        "licence": card.licence,
    }
    outputs = [[f"`{o.name}`", " x ".join(map(str, o.shape)), o.unit or "none"] for o in metadata.outputs]
    parts = [
        f"# {card.name}: {card.what}",
        _table(["", ""], [[key, text] for key, text in facts.items()]),
        "## Use",
        _use(card.name, metadata),
        "## Valid range",
        _table(["condition", "values"], [[f"`{c.name}`", c.expected] for c in metadata.conditions]),
        "Other values are refused, unless extrapolation is asked for. It gives:",
        _table(["output", "shape", "unit"], outputs),
        "It must not be used for:",
        _list(card.unsuitable),
        "## Training",
        training.data,
        f"```sh\n{training.command}\n```",
        f"The complete configuration is in `{card.name}.json`.",
        "## Quality",
        f"Against {card.events} {card.reference}. ± is one standard deviation; the floor is the same number between "
        "two halves of these events, which have half as many and scatter more.",
        _table(["number", "value", "floor", "verdict"], [_measured(row) for row in card.rows]),
        "## Known failures",
        _list([*notable(card.rows), *card.failures]),
        "## Measure it again",
        _recheck(card),
    ]
    return "\n\n".join(parts) + "\n"


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]
    return "\n".join([*head, *(f"| {' | '.join(line)} |" for line in lines)])


def _list(items: Sequence[str]) -> str:
    return "\n".join(f"- {item}" for item in items) or "- none found"


def _measured(row: Row) -> list[str]:
    """The cells of a row of the verdict."""
    value, floor = (format_measurement(n, percent=row.percent) for n in (row.measurement, row.floor))
    limit = f"{VERDICTS[row.verdict]} (limit {format_limit(row)})" if row.limit is not None else ""
    return [row.metric, value, floor, "; ".join(part for part in (limit, row.remark) if part)]


def notable(rows: Sequence[Row]) -> list[str]:
    """The rows that miss their limit, then those that are furthest above their floors, in words.

    Args:
        rows: Of the verdict.

    Returns:
        Sentences; none for a row within two standard deviations of its floor.
    """
    distances = {}
    for row in rows:
        if row.measurement is None or row.floor is None:
            continue
        above = abs(row.measurement.value - row.ideal) - abs(row.floor.value - row.ideal)
        distances[row.key] = above / (math.hypot(row.measurement.uncertainty, row.floor.uncertainty) or 1.0)
    missed = [row for row in rows if row.verdict in ("warn", "fail")]
    far = [row for row in rows if row not in missed and distances.get(row.key, 0.0) > _NOTABLE]
    far = sorted(far, key=lambda row: -distances[row.key])[:_MOST_FAILURES]
    return [
        f"{row.metric}{row.remark and f' ({row.remark})'}: {format_measurement(row.measurement, percent=row.percent)}, "
        f"floor {format_measurement(row.floor, percent=row.percent)}"
        + (f"; {VERDICTS[row.verdict]}" if row in missed else "")
        for row in [*missed, *far]
    ]


def _use(name: str, metadata: Metadata) -> str:
    """Commands and code that generate with the model."""
    middle = {c.name: float(f"{c.spanning(3)[1]:.{_SAVED}g}") for c in metadata.conditions}
    named = ", ".join(f"{key}={value:g}" for key, value in middle.items())
    ranges = " ".join(f"--condition {c.name}={c.low:g}:{c.high:g}" for c in metadata.conditions)
    row = ",".join(f"{value:g}" for value in middle.values())
    first = metadata.outputs[0].name
    return (
        "```sh\n"
        f"hepgan generate {name} -n 1000 {ranges} --out {name}.root\n"
        f'hepgan-shoot "$(hepgan models path {name})" --condition {row} -n 1000   # C++, export/README.md\n'
        "```\n\n"
        "```python\nimport hepgan\n\n"
        f'generator = hepgan.load("{name}")\n'
        f'events = generator.generate({named}, n=1000, seed=1)\nevents["{first}"]\n```'
    )


def _recheck(card: Card) -> str:
    """How a test measures the card's headline numbers again, and their values at its number of events."""
    check = card.recheck
    if check.sample.startswith("toy "):
        options = "".join(f" --{key} {value}" for key, values in check.options.items() for value in values)
        made = f"hepgan {check.sample} -n {check.events}{options} --seed {check.seed} --out reference.root\n"
        sample = "reference.root"
    else:
        made, sample = "", check.sample
    cuts = card.recheck.settings.get("cuts")
    settings = f" --set 'evaluation.cuts={json.dumps(cuts)}'" if cuts else ""
    numbers = [[f"`{key}`", f"{n.value:.4g} ± {n.uncertainty:.2g}"] for key, n in check.numbers.items()]
    return (
        f"```sh\n{made}hepgan evaluate {card.name} --data {sample} --fast --set evaluation.max_events={check.events}"
        f"{settings}\n```\n\nWith {check.events} events (an AUC depends on their number: boosting learns less from "
        "fewer). A test measures these again with other random numbers, and compares within three standard "
        "deviations:\n\n" + _table(["key in metrics.json", "value"], numbers)
    )
