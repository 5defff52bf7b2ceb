"""Operators of Debian 12's libXNNPACK.so.0, of February 2022: each kind has its own create and setup."""

from __future__ import annotations

from collections.abc import Sequence

from edge_agent.inference.xnnpack.operators import (
    CONV2D_GEOMETRY,
    YIELD_WORKERS,
    Operator,
    Operators,
    Slab,
    conv2d_geometry,
    size_array,
)
from edge_agent.model.plan import (
    UNBOUNDED,
    Activation,
    Arithmetic,
    Concat,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Pool2d,
)


class Debian12Operators(Operators):
    """See Operators."""

    def _conv2d(self, operation: Conv2d, weights: Sequence[int], slab: Slab) -> Operator:
        handle = self._create(
            f"xnn_create_convolution2d_nhwc_{self._type}", CONV2D_GEOMETRY + "ppffu",
            *conv2d_geometry(operation, self._tensors, slab), *weights, *operation.bounds, YIELD_WORKERS,
        )  # fmt: skip
        return self._on_picture(
            f"xnn_setup_convolution2d_nhwc_{self._type}", handle, operation, slab.offset_bytes
        )

    def _pool2d(self, operation: Pool2d) -> Operator:
        channels = self._shape(operation.input)[-1]
        dilation = (1, 1) if operation.kind == "max" else ()
        kind = f"{operation.kind}_pooling2d_nhwc_{self._type}"
        handle = self._create(
            f"xnn_create_{kind}", "u" * (8 + len(dilation)) + "zzzffu",
            *operation.padding, *operation.kernel, *operation.stride, *dilation, channels, channels, channels,
            *UNBOUNDED, YIELD_WORKERS,
        )  # fmt: skip
        return self._on_picture(f"xnn_setup_{kind}", handle, operation)

    def _on_picture(
        self, setup: str, handle: int, operation: Conv2d | Pool2d, offset_bytes: int = 0
    ) -> Operator:
        _, height, width, _ = self._shape(operation.input)

        def connect(inputs: Sequence[int], output: int, _: int) -> None:
            self._call(setup, "pzzzppp", handle, 1, height, width, inputs[0], output, self._pool)

        return Operator(
            handle, (operation.input,), operation.output, connect, output_offset_bytes=offset_bytes
        )

    def _fully_connected(self, operation: FullyConnected, weights: Sequence[int]) -> Operator:
        outputs, inputs = self._shape(operation.filter)
        handle = self._create(
            f"xnn_create_fully_connected_nc_{self._type}", "zzzzppffu",
            inputs, outputs, inputs, outputs, *weights, *operation.bounds, YIELD_WORKERS,
        )  # fmt: skip
        return self._on_rows(
            f"xnn_setup_fully_connected_nc_{self._type}", handle, operation.input, operation.output
        )

    def _global_average_pool(self, operation: GlobalAveragePool) -> Operator:
        _, height, width, channels = self._shape(operation.input)
        kind = f"global_average_pooling_nwc_{self._type}"
        handle = self._create(
            f"xnn_create_{kind}", "zzzffu", channels, channels, channels, *UNBOUNDED, YIELD_WORKERS
        )

        def connect(inputs: Sequence[int], output: int, _: int) -> None:
            self._call(
                f"xnn_setup_{kind}", "pzzppp", handle, 1, height * width, inputs[0], output, self._pool
            )

        return Operator(handle, (operation.input,), operation.output, connect)

    def _arithmetic(self, operation: Arithmetic) -> list[Operator]:
        kind = f"{operation.kind}_nd_{self._type}"
        handle = self._create(f"xnn_create_{kind}", "ffu", *operation.bounds, YIELD_WORKERS)
        left, right = self._shape(operation.left), self._shape(operation.right)
        shapes = (len(left), size_array(left), len(right), size_array(right))

        def connect(inputs: Sequence[int], output: int, _: int) -> None:
            self._call(f"xnn_setup_{kind}", "pzpzppppp", handle, *shapes, *inputs, output, self._pool)

        return [Operator(handle, (operation.left, operation.right), operation.output, connect)]

    def _activation(self, operation: Activation) -> Operator:
        channels = self._shape(operation.input)[-1]
        bounds = operation.bounds if operation.kind == "clamp" else ()
        kind = f"{operation.kind}_nc_{self._type}"
        handle = self._create(
            f"xnn_create_{kind}",
            "zzz" + "f" * len(bounds) + "u",
            channels,
            channels,
            channels,
            *bounds,
            YIELD_WORKERS,
        )
        rows = self._elements(operation.input) // channels
        return self._on_rows(f"xnn_setup_{kind}", handle, operation.input, operation.output, rows)

    def _copy(self, operation: Concat, source: int, offset_bytes: int) -> Operator:
        channels, out_channels = self._shape(source)[-1], self._shape(operation.output)[-1]
        kind = f"copy_nc_x{8 * self._element_bytes}"
        handle = self._create(f"xnn_create_{kind}", "zzzu", channels, channels, out_channels, YIELD_WORKERS)
        rows = self._elements(source) // channels
        return self._on_rows(f"xnn_setup_{kind}", handle, source, operation.output, rows, offset_bytes)

    def _on_rows(
        self, setup: str, handle: int, source: int, target: int, rows: int = 1, offset_bytes: int = 0
    ) -> Operator:
        def connect(inputs: Sequence[int], output: int, _: int) -> None:
            self._call(setup, "pzppp", handle, rows, inputs[0], output, self._pool)

        return Operator(handle, (source,), target, connect, output_offset_bytes=offset_bytes)
