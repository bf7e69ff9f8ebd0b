"""Exports that are imported when they are first used (PEP 562), so that ``spikestore --help`` stays fast.

A package passes a table of its names to `lazy_exports`. The package also imports the same names for type checkers.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # as in the packages
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def lazy_exports(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a package; ``__getattr__`` imports a name when it is first used.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    modules : mapping of str to str
        For each exported name, the module that defines the name, relative to the package.
    """

    def getattribute(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{modules[name]}"), name)

    return getattribute, lambda: sorted(modules)
