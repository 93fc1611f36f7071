import numpy as np
import pytest
from report.test_figures import NAMES, nothing_is_clipped

from hepgan.geometry import Calorimeter
from hepgan.report import figures as plots


@pytest.mark.parametrize("coordinates", ["cartesian", "polar", "eta-phi"])
def test_layer_images(coordinates):
    calorimeter = Calorimeter.from_dicts(
        [
            {
                "shape": (3, 4),
                "x": (-3, 3),
                "y": (0, 4),
                "z": (0, 1),
                "coordinates": coordinates,
                "name": "front_$",
            },
            {"shape": (2, 2), "x": (-3, 3), "y": (0, 4), "z": (1, 2), "coordinates": coordinates},
        ]
    )
    reference = np.arange(16.0)
    figure = plots.layer_images(calorimeter, sample=1.2 * reference, reference=reference, names=NAMES)
    images = [axes.collections[0].get_array() for axes in figure.axes if axes.get_title()]
    assert images[0].shape == (4, 3)  # y upwards, x to the right
    assert images[0][1, 2] == reference[2 * 4 + 1]
    assert np.ma.allclose(images[2], 1.2)
    assert images[0].mask[0, 0]  # an empty cell has no colour
    nothing_is_clipped(figure)
    assert b"<image" in plots.svg(figure)  # the cells are pixels, not thousands of paths


def test_dead_calorimeter_is_drawn():
    calorimeter = Calorimeter.from_dicts([{"shape": (2, 2), "x": (0, 1), "y": (0, 1), "z": (0, 1)}])
    image = np.zeros(4)
    plots.svg(plots.layer_images(calorimeter, sample=image, reference=image, names=NAMES))
