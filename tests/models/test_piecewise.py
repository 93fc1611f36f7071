"""Leaky ReLUs with the signs of another tensor; derivatives of whole critics are in test_contract."""

import torch

from hepgan.models.piecewise import sloped


def test_sloped_multiplies_where_the_sign_is_not_positive():
    y, sign = torch.tensor([1.0, 2.0, -3.0, 4.0]), torch.tensor([1.0, -1.0, -2.0, 0.0])
    assert sloped(y, sign, 0.5).tolist() == [1.0, 1.0, -1.5, 2.0]
