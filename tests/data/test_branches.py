"""The table of layouts: each writes showers that it reads again, and recognises its own files."""

import awkward as ak
import numpy as np
import pytest

from hepgan.config import parse
from hepgan.data.branches import LAYOUTS, TRACK_LAYOUTS
from hepgan.data.inspection import inspect
from hepgan.data.reading import read

STORED = ["arrays", "cells", "hits", "cell_ids"]


@pytest.fixture
def stored(tiny_events, tiny_data, write_tree, tmp_path):
    """Write the tiny showers in a layout; the configuration, the branches of the cells and the file."""

    def build(layout):
        path = tmp_path / f"{layout}.root"
        data = tiny_data([str(path)], layout)
        calorimeter = data.calo.calorimeter()
        branches = {"incident_energy": tiny_events.conditions[:, 0]}
        cells = tiny_events.cells
        if data.calo.has_tail:
            cells = np.concatenate([cells, tiny_events.overflow], axis=1)
        else:
            branches["overflow"] = tiny_events.overflow
        written = LAYOUTS[data.calo.layout].write(cells, data.calo, calorimeter)
        return data, written, write_tree(path, branches | written)

    return build


@pytest.mark.parametrize("layout", STORED)
def test_written_showers_are_read_again(stored, tiny_events, layout) -> None:
    data, written, _ = stored(layout)
    assert list(written) == LAYOUTS[data.calo.layout].names(data.calo, data.calo.calorimeter())
    events = read(data)
    for name in ("conditions", "cells", "overflow"):
        np.testing.assert_array_equal(getattr(events, name), getattr(tiny_events, name))


@pytest.mark.parametrize("layout", ["hits", "cell_ids"])
def test_indices_of_hits_are_whole_numbers_of_four_bytes(stored, tiny_events, layout) -> None:
    _, written, _ = stored(layout)
    energy = written.pop("hit_energy")
    np.testing.assert_array_equal(ak.to_numpy(ak.num(energy)), (tiny_events.cells > 0).sum(1))
    assert {str(values.type.content.content) for values in written.values()} == {"int32"}


@pytest.mark.parametrize("layout", STORED)
def test_layouts_recognise_their_files(stored, tiny_events, layout) -> None:
    data, _, path = stored(layout)
    (tree,) = inspect(path).trees
    name = data.calo.layout
    suggestions = {key: value.suggest(tree, path) for key, value in LAYOUTS.items()}
    assert [key for key, suggestion in suggestions.items() if suggestion is not None] == [name]
    suggestion = suggestions[name]
    settings = dict(suggestion.settings)
    assert settings.pop("layout") == name
    calo = data.calo.model_dump(mode="json", exclude_none=True)
    assert settings == {key: calo[key] for key in settings}
    visible = tiny_events.cells.sum(1).mean()
    if name == "cells":  # the arrangement of the 12 numbers is unknown, so the overflow counts as cells
        assert suggestion.shapes == ((1, 12),)
        visible += tiny_events.overflow.sum(1).mean()
    elif layout == "cell_ids":
        assert suggestion.shapes == ((1, 10),)
    else:
        assert suggestion.shapes == ((2, 3), (2, 2))
    assert suggestion.visible == pytest.approx(visible, rel=1e-5)


def test_every_layout_of_the_configuration_is_in_the_table(tiny_data) -> None:
    values = {"data": tiny_data(["a.root"]).model_dump(mode="json", exclude_none=True)}
    values["data"]["calorimeter"]["layout"] = "vectors"
    with pytest.raises(
        ValueError, match="layout: input should be 'arrays', 'cells' or 'hits', got 'vectors'"
    ):
        parse(values)
    assert set(LAYOUTS) == {"arrays", "cells", "hits"}


def test_tracks_are_scalar_or_of_variable_length(track_file) -> None:
    for storage, number in (("rntuple", 0), ("jagged rntuple", 6)):
        (tree,) = inspect(track_file(storage)).trees
        holding = {name: sum(map(layout.holds, tree.branches)) for name, layout in TRACK_LAYOUTS.items()}
        assert holding == {"scalars": 8 - number, "jagged": number}
