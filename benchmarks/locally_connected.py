"""Throughput of LocallyConnected2d and of the unfold + einsum formulation, measured in one run.

Forward + backward, float32, one thread: ``python benchmarks/locally_connected.py``.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from hepgan.models.locally_connected import LocallyConnected2d


def unfold_einsum(x: Tensor, weight: Tensor, bias: Tensor, kernel: int, padding: int) -> Tensor:
    """Locally connected layer as usually written: weight (L, C_out, C_in * kernel^2)."""
    windows = functional.unfold(x, kernel, padding=padding)  # (B, C_in * kernel^2, L)
    y = torch.einsum("bkl,lok->bol", windows, weight) + bias
    return y.reshape(x.shape[0], -1, *x.shape[2:])


def seconds(step: Callable[[], None], repeats: int) -> float:
    """Smallest time of a step in seconds: other work on the machine can only add to it."""
    step()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--channels", type=int, nargs=2, default=(36, 16))
    parser.add_argument("--size", type=int, nargs=2, default=(12, 12))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    (c_in, c_out), size, kernel, padding = arguments.channels, tuple(arguments.size), 3, 1
    cells = size[0] * size[1]
    layer = LocallyConnected2d(c_in, c_out, size=size, kernel_size=kernel, padding=padding)
    x = torch.randn(arguments.batch, c_in, *size)
    g = torch.randn(arguments.batch, c_out, *size)
    inner = x.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1).requires_grad_()  # as inside a stack
    g_inner = g.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    outer = x.clone().requires_grad_()
    weight = (
        layer.weight.detach().permute(0, 2, 3, 5, 1, 4).reshape(cells, c_out, -1).clone().requires_grad_()
    )
    bias = layer.bias.detach().permute(2, 0, 1).reshape(c_out, cells).clone().requires_grad_()
    reference = unfold_einsum(outer, weight, bias, kernel, padding)
    torch.testing.assert_close(layer(inner), reference, rtol=1e-4, atol=1e-4)

    flops = 3 * 2 * arguments.batch * cells * c_out * c_in * kernel**2  # forward and two gradients
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    peak = 2 * 2048**3 / seconds(lambda: torch.mm(a, b), arguments.repeats)
    ours = seconds(lambda: layer(inner).backward(g_inner), arguments.repeats)
    transposing = seconds(lambda: layer(outer).backward(g), arguments.repeats)
    theirs = seconds(
        lambda: unfold_einsum(outer, weight, bias, kernel, padding).backward(g), arguments.repeats
    )
    work = f"batch {arguments.batch}, {c_in} -> {c_out} channels, 3x3 on {size[0]}x{size[1]}"
    print(f"{work}, {arguments.threads} thread(s)")
    for name, taken in (
        ("unfold + einsum", theirs),
        ("LocallyConnected2d", ours),
        ("  with (B, C, H, W) memory", transposing),
    ):
        rate = flops / taken / peak
        print(
            f"{name:27}{taken * 1e3:8.1f} ms  {theirs / taken:6.2f}x  {rate:6.1%} of a matrix product's rate"
        )


if __name__ == "__main__":
    main()
