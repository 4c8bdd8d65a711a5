"""What blocks share: ops by name, linear maps, checks, initial values.

A block needs of an ops package only the ops of the table in `ssmref.ops`. Where the
package has linear maps too, ``linear.linear``, it uses those: they share the threads of
its ops.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

GOLDEN = "ssmref.golden"
Parameters = Mapping[str, Any]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Ops:
    """How a block runs its ops: which package, all tokens or one, packed or not."""

    package: str = GOLDEN
    step: bool = False
    cu_seqlens: Any = None

    def plain(self, name: str, *arrays: Any, **options: Any) -> Any:
        """Call an op that treats every token alike, such as ``layers.rms_norm``."""
        module, function = name.split(".")
        return getattr(import_module(f"{self.package}.{module}"), function)(
            *arrays, **options
        )

    def scan(self, name: str, *arrays: Any, state: Any, **options: Any) -> Any:
        """Call an op that carries a state, or its step; return (y, state)."""
        if self.step:
            return self.plain(f"{name}_step", *arrays, state=state, **options)
        return self.plain(
            name, *arrays, initial_state=state, cu_seqlens=self.cu_seqlens, **options
        )


@functools.cache
def linear_of(package: str) -> Callable[[Any, Any, Any], Any]:
    """Return the linear map ``(x, W, b)`` of a package of ops, by default `product`."""
    name = f"{package}.linear"
    try:
        return import_module(name).linear
    except ModuleNotFoundError as error:
        if not name.startswith(str(error.name)):
            raise
        return product


def product(x: Any, weight: Any, bias: Any) -> Any:
    """Return ``x W^T + b`` by the operators of any library of arrays."""
    y = x @ weight.T
    return y if bias is None else y + bias


def linear(ops: Ops, x: Any, parameters: Parameters, name: str) -> Any:
    """Return ``x W^T + b`` with W stored as (out, in) and b where there is one."""
    weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
    return linear_of(ops.package)(x, weight, bias)


def convolve(ops: Ops, x: Any, parameters: Parameters, state: Any, activation) -> Any:
    """Run the short convolution ``conv1d``, weight (channels, 1, width)."""
    return ops.scan(
        "layers.causal_conv1d",
        x,
        parameters["conv1d.weight"][:, 0],
        bias=parameters.get("conv1d.bias"),
        activation=activation,
        state=state,
    )


def split(x: Any, widths: tuple[int, ...]) -> list[Any]:
    """Cut the last axis into parts of these widths."""
    ends = np.cumsum(widths)
    return [x[..., end - w : end] for w, end in zip(widths, ends, strict=True)]


def fold(x: Any, *axes: int) -> Any:
    """Give the last axis these axes instead."""
    return x.reshape(*x.shape[:-1], *axes)


def silu(x: Any) -> Any:
    """Return ``x / (1 + e^-x)`` by e^-|x|."""
    e = np.exp(-np.abs(x))
    return x * np.where(x >= 0, 1, e) / (1 + e)


def softplus(x: Any) -> Any:
    """Return ``log(1 + e^x)``, and x above 20."""
    return np.where(x > 20, x, np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def heavy_tail(x: Any) -> Any:
    """Return ``1 + x`` from 0 on and ``1 / (1 - x)`` below."""
    return np.maximum(x, 0) + 1 / (1 - np.minimum(x, 0))


def need(holds: bool, config: Any, field: str, needed: str) -> None:
    """Raise ValueError that names the field of a configuration unless it holds."""
    if not holds:
        where = f"{type(config).__name__}.{field}"
        value = getattr(config, field)
        raise ValueError(f"{where} is {value!r}; it needs to {needed}")


def need_positive(config: Any, *fields: str) -> None:
    """Raise ValueError unless these fields are at least 1."""
    for field in fields:
        need(getattr(config, field) >= 1, config, field, "be at least 1")


def check(parameters: Parameters, shapes: Shapes, x: Any, d_model: int, ops: Ops):
    """Raise where names, shapes or dtypes of parameters or x are not what they need.

    ValueError for a name or a shape, TypeError for a dtype.
    """
    axes = "(batch, d_model)" if ops.step else "(batch, length, d_model)"
    if x.ndim != (2 if ops.step else 3) or x.shape[-1] != d_model:
        raise ValueError(
            f"x has shape {x.shape}; it needs {axes} with d_model = {d_model}"
        )
    check_parameters(parameters, shapes)
    for name in shapes:
        if parameters[name].dtype != x.dtype:
            raise TypeError(
                f"{name} has dtype {parameters[name].dtype}, but x has {x.dtype}; "
                "x and all parameters need one dtype"
            )


def check_parameters(parameters: Parameters, shapes: Shapes) -> None:
    """Raise ValueError for a missing, an unknown or a wrongly shaped parameter."""
    for name, shape in shapes.items():
        if name not in parameters:
            raise ValueError(f"parameters lack {name}; it needs shape {shape}")
        if parameters[name].shape != shape:
            raise ValueError(
                f"{name} has shape {parameters[name].shape}; it needs {shape}"
            )
    if unknown := sorted(set(parameters) - set(shapes)):
        raise ValueError(
            f"parameters have unknown names: {', '.join(unknown)}; "
            f"known are: {', '.join(shapes)}"
        )


def within(parameters: Parameters, prefix: str) -> dict[str, Any]:
    """Return the parameters under a prefix, by their names without it."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): value
        for name, value in parameters.items()
        if name.startswith(start)
    }


def under(prefix: str, named: Mapping[str, Any]) -> dict[str, Any]:
    """Put a prefix before all names."""
    return {f"{prefix}.{name}": value for name, value in named.items()}


def initial(rng: np.random.Generator, shapes: Shapes) -> dict[str, np.ndarray]:
    """Return torch's default values for linear and convolution parameters.

    Weights are uniform within ``fan_in^-1/2``, as are biases of convolutions; biases
    of linear maps are 0 and everything else (norms, D) 1.
    """
    values = {}
    for name, shape in shapes.items():
        if name.startswith("conv1d") or (name.endswith(".weight") and len(shape) > 1):
            weight = shapes[name.replace(".bias", ".weight")]
            bound = np.prod(weight[1:]) ** -0.5
            values[name] = rng.uniform(-bound, bound, shape)
        else:
            values[name] = np.full(shape, 0.0 if name.endswith(".bias") else 1.0)
    return values


def initial_dt_bias(rng: np.random.Generator, config: Any, size: int) -> np.ndarray:
    """Return what softplus makes log-uniform in [dt_min, dt_max]."""
    low, high = np.log(config.dt_min), np.log(config.dt_max)
    dt = np.maximum(np.exp(rng.uniform(low, high, size)), config.dt_init_floor)
    return dt + np.log(-np.expm1(-dt))


def cast(values: Mapping[str, np.ndarray], dtype: Any) -> dict[str, np.ndarray]:
    """Return all arrays in `dtype`."""
    return {name: value.astype(dtype) for name, value in values.items()}
