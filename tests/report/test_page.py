import base64
import html
import html.parser
import re

import pytest
from matplotlib.figure import Figure
from report.made_results import made_results

from hepgan.evaluation.published import CAVEAT
from hepgan.evaluation.verdict import VERDICTS, Published, Row
from hepgan.report.page import Grid, Section, render

NUMBERS = {
    "unit": "mm",
    "separation": [0.01, 0.001],
    "separation_floor": [0.002, 0.001],
    "wasserstein": [1.0, 0.1],
    "wasserstein_floor": [0.5, 0.1],
    "wasserstein_sigma": None,
    "wasserstein_sigma_floor": None,
    "chi2": {"per_ndf": [1.0, 0.2], "ndf": 30, "p_value": 0.5},
    "mean": {"reference": [1.0, 0.01], "sample": [1.1, 0.01]},
    "std": {"reference": [1.0, 0.01], "sample": [1.0, 0.01]},
}
EVIL = "<script>alert(1)</script>"


def row(verdict, value, **more):
    """A row with this verdict, whatever its value."""
    value, uncertainty = value or (None, None)
    return Row(
        **{
            "key": f"bias_{verdict}",
            "metric": f"bias {verdict}",
            "section": "response",
            "value": value,
            "uncertainty": uncertainty,
            "floor": (0.001, 0.0005),
            "limit": 0.03,
            "percent": True,
            "verdict": verdict,
        }
        | more
    )


def classifier(single):
    """A classifier test with these areas of single observables."""
    areas = {"auc": [0.7, 0.01], "auc_floor": [0.5, 0.01], "folds": [0.7]}
    return {**areas, "single": single, "single_floor": single}


@pytest.fixture
def results():
    """A function that makes results with other rows or parts."""
    rows = [
        row("pass", (0.0123, 0.0045)),
        row("warn", None),
        row("fail", (-0.2, 0.01)),
        row("info", (0.7, 0.01), limit=None, percent=False, remark=EVIL),
    ]

    def make(rows=rows, **more):
        parts = {
            "features": {"width_x_front": NUMBERS, EVIL: {**NUMBERS, "separation": [0.5, 0.1]}},
            "classifier": classifier({"width_x_front": [0.6, 0.01], EVIL: [0.7, 0.01]}),
            "conditions": [
                {"name": "P", "unit": "MeV", "range": [2000.1, 199829.9], "categories": []},
                {"name": "species", "unit": "", "range": [211.0, 321.0], "categories": ["pi", EVIL]},
            ],
            "provenance": {"model": {"file": EVIL, "step": 100}, "hepgan": "0.1.0"},
        }
        return made_results(rows, sample=(EVIL, 4000), reference=("Geant4", 5000), **parts | more)

    return make


@pytest.fixture
def page(results):
    figure = Figure(figsize=(1, 1))
    figure.add_axes((0, 0, 1, 1)).plot([0, 1], [0, 1])
    sections = [
        Section("response", "Response & more", f"caption {EVIL}", figure),
        Section(
            "species",
            "Each species",
            "a table",
            grid=Grid(("", "KS"), [[("K", ""), ("0.02", "pass")], [(EVIL, ""), ("0.2", "fail")]]),
        ),
    ]
    return render(results(), sections, title=f"Run {EVIL}", note="Biases are relative.")


class Checker(html.parser.HTMLParser):
    VOID = ("meta", "link", "img", "br", "!doctype")

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.images = [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag not in self.VOID:
            self.open.append(tag)
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag == "a":
            self.links.append(attributes["href"])
        if tag == "img":
            self.images.append(attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_page_is_well_formed_and_links_to_its_own_figures(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert {link[1:] for link in checker.links} == set(
        checker.ids
    )  # every part is in the contents, or leads back
    assert {"verdict", "reading", "response", "species", "features", "provenance"} <= set(checker.ids)
    (image,) = checker.images
    assert image["alt"] == "Response & more"
    kind, _, data = image["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert b"<svg" in base64.b64decode(data)


def test_sample_and_tables_in_words(page):
    text = re.sub(r"\s+", " ", page)
    assert "4000 tracks of" in text
    assert "; P 2000 to 200000 MeV; species pi, &lt;script" in text
    assert "(half the tracks)" in text
    assert "Biases are relative." in text
    assert '<td class="n"><span class="light pass">0.02</span></td>' in text
    assert '<th></th><th class="n">KS</th>' in text


def test_page_needs_nothing_from_outside(page):
    assert re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"", page) == []
    assert "@import" not in page
    assert "url(" not in page


def test_everything_is_escaped(page):
    assert "<script" not in page
    assert (
        page.count("&lt;script&gt;") >= 8
    )  # title (twice), caption, names, category, table, remark, provenance


def test_verdicts_are_in_words(page):
    for verdict, words in VERDICTS.items():
        assert f'class="light {verdict}">{words}<' in page
    counts = "1 of 3 requirements are met; not good enough: 1; look closer: 1."
    assert f'<p class="overall light fail">{counts}</p>' in page
    assert "1.23 ± 0.45 %" in page
    assert "-20.0 ± 1.0 %" in page
    assert ">undefined<" in page
    assert page.index(EVIL.replace("<", "&lt;").replace(">", "&gt;") + " [mm]") < page.index(
        "width_x_front [mm]"
    )


def test_rows_lead_to_their_figure_only_if_there_is_one(results):
    rows = results().rows
    rows[2] = rows[2].model_copy(update={"section": "nowhere"})
    sections = [Section("response", "Response", "a caption")]
    page = render(results(rows), sections, title="t")
    assert '<td><a href="#response">bias pass</a></td>' in page
    assert "<td>bias fail</td>" in page
    assert "#nowhere" not in page
    assert (
        '<a href="#response" class="light warn">Response</a>' in page
    )  # the contents show the worst of a section


def test_requirements_come_first(results):
    *judged, information = results().rows
    page = render(results([information, *judged]), [], title="t")
    places = [page.index(text) for text in ("Requirements<", "bias pass", "For information<", "bias info")]
    assert places == sorted(places)


def test_nothing_required(results):
    page = render(results(results().rows[-1:]), [], title="t")
    assert '<p class="overall light info">No number has a limit: all are for information.</p>' in page
    assert "Requirements<" not in page


def test_published_numbers_stand_beside_ours(results):
    peers = [
        Published(
            model=f"Flow {k} {EVIL}",
            value=0.6 + k / 10,
            uncertainty=None,
            reference="arXiv:1",
            remark="approximate: from a figure" if k == 1 else "",
        )
        for k in range(4)
    ]
    *judged, information = results().rows
    rows = [*judged, information.model_copy(update={"peers": peers})]
    page = render(results(rows), [], title="t")
    assert "<span>0.6 Flow 0 &lt;script" in page
    assert "<span>about 0.7 Flow 1" in page
    assert page.count("0.9 Flow") == 0  # only in the table of all of them
    assert '<a href="#published">all 4</a>' in page
    whole = page[page.index('<section id="published">') :]
    assert all(f"Flow {k}" in whole for k in range(4))
    assert CAVEAT in html.unescape(whole)
    assert "<script" not in page


def test_without_published_numbers_nothing_is_said_about_them(page):
    assert "ublished" not in page.replace(
        '.verdicts td.peers:not(:empty)::before { content: "published "; }', ""
    )


@pytest.mark.parametrize("anchor", ["features", "response"])
def test_anchors_are_not_given_twice(results, anchor):
    sections = [Section("response", "a", "b"), Section(anchor, "c", "d")]
    with pytest.raises(
        ValueError, match=rf"expected anchors that differ.* got \['{anchor}'\] more than once"
    ):
        render(results(), sections, title="t")
