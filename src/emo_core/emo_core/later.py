"""Modules that a library imports and never uses here: imported once somebody uses them."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


class _Later(ModuleType):
    """A stand-in: the first look for anything in it imports the real module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by Python itself
            raise AttributeError(name)
        for module in [m for m, stands in sys.modules.items() if type(stands) is _Later]:
            sys.modules.pop(module, None)  # this one, and the package it lies in
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def later(*names: str) -> Iterator[None]:
    """While the block lasts, what imports one of `names` gets a stand-in, at no cost.

    Modules that are there already stay. A submodule's package must be among the names before it.
    """
    stands_in: dict[str, ModuleType] = {}
    for name in names:
        if name in sys.modules:
            continue
        stands_in[name] = sys.modules[name] = _Later(name)
        package, _, last = name.rpartition(".")
        if package in stands_in:
            setattr(stands_in[package], last, stands_in[name])
    try:
        yield
    finally:
        for name, module in stands_in.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
