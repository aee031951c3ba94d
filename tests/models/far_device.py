"""A stand-in for a GPU, which the machines of the tests lack: a second device as strict about where tensors are.

Its tensors are computed on the CPU but belong to a device of their own: they enter it by `to`, leave it by `cpu()`, and
meet tensors of the CPU only where CUDA allows that: as indices, in `copy_`, or where these have no dimension. It says
nothing of kernels, their speed and their rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CPU, META = torch.device("cpu"), torch.device("meta")
FAR = torch.device("maia", 0)  # of a type that torch knows, without kernels and without anything to initialize
ATEN = torch.ops.aten
CROSSING = {ATEN.copy_.default, ATEN._to_copy.default}
INDEXING = {ATEN.index.Tensor, ATEN.index_put_.default, ATEN._index_put_impl_.default}


@contextmanager
def far() -> Iterator[torch.device]:
    """While it is entered, tensors can be made on the far device, by this thread and those of a `Pool`."""
    making: Any = Making
    sending: Any = Sending
    with making(), sending():
        yield FAR


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Log of the far device's operations while it is entered, by their names in torch; views are not logged."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: list[tuple[str, int]] = []  # with the elements of the largest tensor that is read or written
        self.fetched: list[str] = []  # what makes the caller wait for the device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        given, got = ([one for one in tree_leaves(each) if isinstance(one, FarTensor)] for each in (args, made))
        name = func.overloadpacket.__name__
        if given and not got:
            self.fetched.append(name)
        elif given and not func.is_view:
            self.sizes.append((name, max(one.numel() for one in given + got)))
        return made


class FarTensor(Tensor):
    """A tensor of the far device."""

    held: Tensor  # on the CPU

    @staticmethod
    def __new__(cls: type[FarTensor], held: Tensor) -> FarTensor:
        place = (held.stride(), held.storage_offset()) if held.layout == torch.strided else (None, None)
        make: Any = Tensor._make_wrapper_subclass
        made: FarTensor = make(
            cls, held.shape, strides=place[0], storage_offset=place[1], dtype=held.dtype, device=META
        )  # fmt: skip
        made.held = held
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return FAR

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return dispatch(func, args, kwargs or {})


class Making(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})


class Sending(TorchFunctionMode):
    """`torch.tensor`, which copies numbers past all that can be overridden."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.pop("device", None) if func is torch.tensor else None
        found = func(*args, **kwargs)
        return found if device is None else found.to(device)


class Pool(ThreadPoolExecutor):
    """Threads that know the far device, which torch has to be told in each."""

    def submit(self, work: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        def inside() -> Any:
            with far():
                return work(*args, **kwargs)

        return super().submit(inside)


def dispatch(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Return the result of an operation of torch, on the device that CUDA uses. Raises RuntimeError as CUDA does."""
    tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
    is_far = any(isinstance(tensor, FarTensor) for tensor in tensors)
    allowed = args[1] if func in INDEXING and isinstance(args[0], FarTensor) else []
    near = [
        tensor
        for tensor in tensors
        if not isinstance(tensor, FarTensor) and tensor.dim() and not any(tensor is index for index in allowed)
    ]
    if is_far and near and func not in CROSSING:
        raise RuntimeError(f"{func} of tensors on {FAR} and on the CPU, of shapes {[tuple(one.shape) for one in near]}")
    if kwargs.get("device") is not None:
        is_far = torch.device(kwargs["device"]).type in (FAR.type, META.type)
        kwargs = kwargs | {"device": CPU}
    found = func(*tree_map(inner, args), **tree_map(inner, kwargs))
    if args and found is inner(args[0]):  # changed in place
        return args[0]
    return tree_map(outer, found) if is_far else found


def inner(value: Any) -> Any:
    return value.held if isinstance(value, FarTensor) else value


def outer(value: Any) -> Any:
    return FarTensor(value) if isinstance(value, Tensor) else value
