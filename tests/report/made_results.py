"""Small results for tests of pages and tables."""

from pathlib import Path

from hepgan.evaluation.results import Results, read_results
from hepgan.evaluation.verdict import summary

OLD = Path(__file__).parents[1] / "versions" / "v0_1" / "showers" / "report" / "metrics.json"


def made_results(rows, *, sample, reference, **more) -> Results:
    """Results with these rows, between samples of tracks given as name and number of events."""
    worst, words = summary(rows)
    samples = {
        "what": "tracks",
        "sample": {"name": sample[0], "events": sample[1], "effective_events": sample[1]},
        "reference": {"name": reference[0], "events": reference[1], "effective_events": reference[1]},
        "conditions": more.pop("conditions", []),
        "paired": True,
        "outside_range": 0,
    }
    values = read_results(OLD).model_dump(by_alias=True)  # whatever the test does not look at
    return Results.model_validate(
        {**values, "rows": rows, "verdict": worst, "summary": words, "samples": samples, **more}
    )
