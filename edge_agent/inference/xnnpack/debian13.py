"""Operators of Debian 13's libXNNPACK.so.0.20241108: created, then reshaped, then set up."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from edge_agent.inference.xnnpack.operators import (
    CONV2D_GEOMETRY,
    YIELD_WORKERS,
    Connect,
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
    Bounds,
    Concat,
    Conv2d,
    FullyConnected,
    GlobalAveragePool,
    Pool2d,
)

_DATATYPES = {"f32": 1, "f16": 2}  # enum xnn_datatype
_UNARY = {"clamp": 1, "hardswish": 9, "sigmoid": 13}  # enum xnn_unary_operator
_BINARY = {"add": 0, "multiply": 2}  # enum xnn_binary_operator
_REDUCE_MEAN = 1  # enum xnn_reduce_operator
_TRANSIENT_INDIRECTION_BUFFER = 0x20
_NO_CACHES = (None, None)


class _UnaryParameters(ctypes.Union):
    """union xnn_unary_params, of which only the clamp's is used."""

    _fields_ = (("clamp", ctypes.c_float * 2),)


class Debian13Operators(Operators):
    """See Operators."""

    def _conv2d(self, operation: Conv2d, weights: Sequence[int], slab: Slab) -> Operator:
        kind = f"convolution2d_nhwc_{self._type}"
        handle = self._create(
            f"xnn_create_{kind}", CONV2D_GEOMETRY + "ppffupp",
            *conv2d_geometry(operation, self._tensors, slab), *weights, *operation.bounds,
            YIELD_WORKERS, *_NO_CACHES,
        )  # fmt: skip
        _, height, width, _ = self._shape(operation.input)
        workspace = _Workspace()
        self._call(
            f"xnn_reshape_{kind}",
            "pzzzppppp",
            handle,
            1,
            height,
            width,
            *workspace.outputs,
            None,
            None,
            self._pool,
        )
        connect = self._connect_with_workspace(kind, handle)
        return Operator(
            handle, (operation.input,), operation.output, connect, workspace.bytes, slab.offset_bytes
        )

    def _fully_connected(self, operation: FullyConnected, weights: Sequence[int]) -> Operator:
        outputs, inputs = self._shape(operation.filter)
        kind = f"fully_connected_nc_{self._type}"
        handle = self._create(
            f"xnn_create_{kind}", "zzzzppffupp",
            inputs, outputs, inputs, outputs, *weights, *operation.bounds, YIELD_WORKERS, *_NO_CACHES,
        )  # fmt: skip
        self._call(f"xnn_reshape_{kind}", "pzp", handle, 1, self._pool)
        return Operator(handle, (operation.input,), operation.output, self._connect(kind, handle))

    def _pool2d(self, operation: Pool2d) -> Operator:
        _, height, width, channels = self._shape(operation.input)
        shape = (1, height, width, channels, channels, channels)
        kind = f"{operation.kind}_pooling2d_nhwc_{self._type}"
        window = (*operation.padding, *operation.kernel, *operation.stride)
        if operation.kind == "max":
            handle = self._create(
                f"xnn_create_{kind}", "u" * 10 + "ffu", *window, 1, 1, *UNBOUNDED, YIELD_WORKERS
            )
            self._call(f"xnn_reshape_{kind}", "pzzzzzzppp", handle, *shape, None, None, self._pool)
            return Operator(handle, (operation.input,), operation.output, self._connect(kind, handle))
        handle = self._create(f"xnn_create_{kind}", "u" * 8 + "ffu", *window, *UNBOUNDED, YIELD_WORKERS)
        workspace = _Workspace()
        self._call(
            f"xnn_reshape_{kind}", "pzzzzzzppppp", handle, *shape, *workspace.outputs, None, None, self._pool
        )
        connect = self._connect_with_workspace(kind, handle)
        return Operator(handle, (operation.input,), operation.output, connect, workspace.bytes)

    def _global_average_pool(self, operation: GlobalAveragePool) -> Operator:
        handle = self._create(
            "xnn_create_reduce_nd", "iippu", _REDUCE_MEAN, _DATATYPES[self._type], None, None, YIELD_WORKERS
        )
        axes, shape = (ctypes.c_int64 * 2)(1, 2), self._shape(operation.input)
        workspace = _Workspace()
        self._call(
            "xnn_reshape_reduce_nd", "pzpzpppp",
            handle, len(axes), axes, len(shape), size_array(shape), *workspace.outputs, self._pool,
        )  # fmt: skip
        # Given a workspace it sums there and converts the sum to the result's type, for which fp32 has no
        # function (it calls NULL); without one it sums in place.
        accumulates_elsewhere = self._type == "f16"

        def connect(inputs: Sequence[int], output: int, spare: int) -> None:
            room = spare if accumulates_elsewhere else None
            self._call("xnn_setup_reduce_nd", "pppp", handle, room, inputs[0], output)

        return Operator(handle, (operation.input,), operation.output, connect, workspace.bytes)

    def _arithmetic(self, operation: Arithmetic) -> list[Operator]:
        """Add or multiply; where there are bounds, clamp in place: this release has no single call for it."""
        handle = self._create(
            "xnn_create_binary_elementwise_nd", "iipppu",
            _BINARY[operation.kind], _DATATYPES[self._type], None, None, None, YIELD_WORKERS,
        )  # fmt: skip
        left, right = self._shape(operation.left), self._shape(operation.right)
        self._call(
            "xnn_reshape_binary_elementwise_nd", "pzpzpp",
            handle, len(left), size_array(left), len(right), size_array(right), self._pool,
        )  # fmt: skip

        def connect(inputs: Sequence[int], output: int, _: int) -> None:
            self._call("xnn_setup_binary_elementwise_nd", "pppp", handle, *inputs, output)

        operators = [Operator(handle, (operation.left, operation.right), operation.output, connect)]
        if operation.bounds != UNBOUNDED:
            operators.append(self._unary("clamp", operation.bounds, operation.output, operation.output))
        return operators

    def _activation(self, operation: Activation) -> Operator:
        return self._unary(operation.kind, operation.bounds, operation.input, operation.output)

    def _unary(self, kind: str, bounds: Bounds, source: int, target: int) -> Operator:
        datatype = _DATATYPES[self._type]
        parameters = _UnaryParameters(clamp=(bounds.low, bounds.high))
        handle = self._create(
            "xnn_create_unary_elementwise_nc", "iiipppu",
            _UNARY[kind], datatype, datatype, ctypes.addressof(parameters), None, None, YIELD_WORKERS,
        )  # fmt: skip
        channels = self._shape(source)[-1]
        rows = self._elements(source) // channels
        self._call(
            "xnn_reshape_unary_elementwise_nc",
            "pzzzzp",
            handle,
            rows,
            channels,
            channels,
            channels,
            self._pool,
        )
        return Operator(handle, (source,), target, self._connect("unary_elementwise_nc", handle))

    def _copy(self, operation: Concat, source: int, offset_bytes: int) -> Operator:
        kind = f"copy_nc_x{8 * self._element_bytes}"
        handle = self._create(f"xnn_create_{kind}", "u", YIELD_WORKERS)
        channels, out_channels = self._shape(source)[-1], self._shape(operation.output)[-1]
        rows = self._elements(source) // channels
        self._call(
            f"xnn_reshape_{kind}", "pzzzzp", handle, rows, channels, channels, out_channels, self._pool
        )
        connect = self._connect(kind, handle)
        return Operator(handle, (source,), operation.output, connect, output_offset_bytes=offset_bytes)

    def _connect(self, kind: str, handle: int) -> Connect:
        def connect(inputs: Sequence[int], output: int, _: int) -> None:
            self._call(f"xnn_setup_{kind}", "ppp", handle, inputs[0], output)

        return connect

    def _connect_with_workspace(self, kind: str, handle: int) -> Connect:
        def connect(inputs: Sequence[int], output: int, workspace: int) -> None:
            self._call(f"xnn_setup_{kind}", "pppp", handle, workspace, inputs[0], output)

        return connect


class _Workspace:
    """Receives the size of the workspace that an operator needs."""

    def __init__(self) -> None:
        self._bytes = ctypes.c_size_t()
        self._alignment = ctypes.c_size_t()
        self.outputs = (ctypes.byref(self._bytes), ctypes.byref(self._alignment))

    @property
    def bytes(self) -> int:
        return self._bytes.value
