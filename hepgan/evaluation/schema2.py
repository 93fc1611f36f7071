"""Results of schema 2, which hepgan 0.1 wrote, in the shape of schema 3."""

from __future__ import annotations

from typing import TypeAlias

from pydantic import JsonValue

from hepgan.evaluation.verdict import Row, summary

__all__ = ["upgraded"]

Table: TypeAlias = dict[str, JsonValue]

_MIDDLE = 0.5  # area under the ROC curve of equal samples


def upgraded(values: Table) -> Table:
    """Give parsed results of schema 2 the shape of schema 3; no number changes.

    ``generated`` became ``sample``, ``sample`` became ``samples``, ``verdict`` became ``rows``; rows have
    ``value`` and ``uncertainty`` apart, and distances in bins are below ``distances``.
    """
    renamed = _renamed(values)
    result = {key: value for key, value in renamed.items() if key not in ("verdict", "sample")}
    rows = [_row(_table(row)) for row in _list(renamed["verdict"])]
    verdict, words = summary([Row.model_validate(row) for row in rows])
    result |= {
        "schema": 3,
        "rows": list[JsonValue](rows),
        "samples": renamed["sample"],
        "verdict": verdict,
        "summary": words,
        "diversity": renamed["diversity"] or None,
        "in_bins": {name: _in_bins(_table(table)) for name, table in _table(renamed["in_bins"]).items()},
    }
    return result


def _table(value: JsonValue) -> Table:
    if not isinstance(value, dict):
        raise TypeError(f"expected a table, got {value!r}")
    return value


def _list(value: JsonValue) -> list[JsonValue]:
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r}")
    return value


def _renamed(table: Table) -> Table:
    """Rename ``generated`` to ``sample`` wherever it stands beside ``reference``, at every depth."""

    def inner(value: JsonValue) -> JsonValue:
        if isinstance(value, dict):
            return _renamed(value)
        return [inner(entry) for entry in value] if isinstance(value, list) else value

    both = "generated" in table and "reference" in table
    return {"sample" if both and key == "generated" else key: inner(value) for key, value in table.items()}


def _apart(entry: Table) -> Table:
    """Split the pair ``value`` of a table into ``value`` and ``uncertainty``."""
    value, uncertainty = _list(entry["value"]) if entry["value"] is not None else (None, None)
    return {**entry, "value": value, "uncertainty": uncertainty}


def _row(row: Table) -> Table:
    peers = [_apart(_table(peer)) for peer in _list(row.get("peers", []))]
    ideal = _MIDDLE if "auc" in str(row["key"]).split("_") else 0.0
    return {**_apart(row), "ideal": ideal, "peers": list[JsonValue](peers)}


def _in_bins(table: Table) -> Table:
    return {
        "bins": table["bins"],
        "distances": {key: distance for key, distance in table.items() if key != "bins"},
    }
