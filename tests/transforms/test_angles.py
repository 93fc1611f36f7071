"""Angles in one turn."""

import numpy as np
import torch

from hepgan.transforms.angles import TURN, wrapped


def test_a_turn_does_not_contain_its_end():
    angles = torch.tensor([-1e-9, 0.0, TURN, 2 * TURN, -TURN, -1e-3, 3.0])
    for start in (0.0, -np.pi, 1.0):
        result = wrapped(angles, start).double()
        assert ((result >= start - 1e-6) & (result < start + TURN)).all()
        torch.testing.assert_close(torch.cos(result), torch.cos(angles.double()), atol=2e-6, rtol=0)
