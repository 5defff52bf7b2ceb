"""The stem of a ResNet, its largest results by far, so that training keeps nothing of it but the pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.grad import conv2d_weight

_SLICE = 4
"""Pictures that are taken back through pooling, ReLU and batch norm together."""


def lean_stem(
    pictures: Tensor, conv: nn.Conv2d, norm: nn.BatchNorm2d, pool: Callable[[Tensor], Tensor]
) -> Tensor:
    """Convolution, batch norm, ReLU and `pool`, in training; shape and values as those modules give them.

    The convolution has no bias, and batch norm a momentum. The gradients are those of the modules within
    rounding. On the way back the convolution is computed again, and the rest in slices of a few pictures:
    two tensors of that size, not four and the places of the maxima. The pictures get no gradient.
    """
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    result: Tensor = _Stem.apply(pictures, conv.weight, norm.weight, norm.bias, conv, norm, pool)
    return result


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pictures: Tensor,
        weight: Tensor,
        scale: Tensor,
        shift: Tensor,
        conv: nn.Conv2d,
        norm: nn.BatchNorm2d,
        pool: Callable[[Tensor], Tensor],
    ) -> Tensor:
        found = _convolve(pictures, weight, conv)
        normal, mean, rate = torch.native_batch_norm(
            found, scale, shift, norm.running_mean, norm.running_var, True, norm.momentum or 0.0, norm.eps
        )
        ctx.save_for_backward(pictures, weight, scale, shift, mean, rate)
        ctx.modules, ctx.autocast = (conv, norm, pool), torch.is_autocast_enabled(pictures.device.type)
        del found
        result: Tensor = pool(normal.relu_())
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        pictures, weight, scale, shift, mean, rate = ctx.saved_tensors
        conv, norm, pool = ctx.modules
        with torch.autocast(pictures.device.type, torch.bfloat16, enabled=ctx.autocast):
            found = _convolve(pictures, weight, conv)
        slope, scale_gradient, shift_gradient = _through_slices(
            found, gradients[0], (mean, rate.pow(-2).sub_(norm.eps)), (scale, shift), norm.eps, pool
        )
        # What the statistics of the batch add, which the slices took for constants.
        count = found.numel() / found.shape[1]
        share = scale * rate / count
        slope.sub_(found.mul_(_wide(share * rate * scale_gradient, found)))
        slope.sub_(_wide(share * (shift_gradient - mean * rate * scale_gradient), slope))
        del found
        weight_gradient: Tensor = conv2d_weight(  # type: ignore[no-untyped-call]
            pictures.to(slope.dtype),
            weight.shape,
            slope,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
        )
        return None, weight_gradient.to(weight.dtype), scale_gradient, shift_gradient, None, None, None


def _convolve(pictures: Tensor, weight: Tensor, conv: nn.Conv2d) -> Tensor:
    return functional.conv2d(pictures, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


def _through_slices(
    found: Tensor,
    gradient: Tensor,
    statistics: tuple[Tensor, Tensor],
    affine: tuple[Tensor, Tensor],
    eps: float,
    pool: Callable[[Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of a convolution's results, of scale and of shift, for statistics that do not move."""
    slope = torch.empty_like(found)
    scale, shift = (each.detach().requires_grad_() for each in affine)
    sums = torch.zeros_like(affine[0]), torch.zeros_like(affine[1])
    for first in range(0, len(found), _SLICE):
        mine = slice(first, first + _SLICE)
        part = found[mine].detach().requires_grad_()
        with torch.enable_grad():
            normal = functional.batch_norm(part, *statistics, scale, shift, training=False, eps=eps)
            seen = pool(normal.relu_())
        back, *rest = torch.autograd.grad(seen, (part, scale, shift), gradient[mine])
        slope[mine] = back
        for whole, each in zip(sums, rest, strict=True):
            whole.add_(each)
    return slope, *sums


def _wide(each: Tensor, like: Tensor) -> Tensor:
    """Figures of channels, shaped and typed to be applied to all pixels."""
    return each.to(like.dtype).view(1, -1, 1, 1)
