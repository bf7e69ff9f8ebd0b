"""The tree of errors equals the one in its docstring, and errors can be pickled."""

from __future__ import annotations

import builtins
import multiprocessing
import pickle
import re
from concurrent.futures import ProcessPoolExecutor

import pytest

from spikestore.store_schemas import errors
from spikestore.store_schemas.errors import Problem, SpecError, SpikestoreError
from spikestore.store_schemas.specs.operations import CropTime

_LINE = re.compile(r"^(?P<tree>[│├└─ ]*)(?P<name>[A-Z]\w+Error)(?:\s+also (?P<builtin>\w+))?")


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Return the parent and the builtin base of each class, as the docstring draws them."""
    found: dict[str, tuple[str | None, str | None]] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = _LINE.match(line)
        if match is None or (not match["tree"].strip() and match["name"] != "SpikestoreError"):
            continue
        depth = len(match["tree"])
        above = [one for one in above if one[0] < depth]
        found[match["name"]] = (above[-1][1] if above else None, match["builtin"])
        above.append((depth, match["name"]))
    return found


def classes(base: type[SpikestoreError] = SpikestoreError) -> list[type[SpikestoreError]]:
    below = [one for child in base.__subclasses__() for one in classes(child)]
    return [base, *(one for one in below if one.__module__ == errors.__name__)]


CLASSES = classes()


def test_the_drawing_shows_every_class() -> None:
    """No class is missing from the drawing, and `__all__` lists all classes."""
    names = {one.__name__ for one in CLASSES}
    assert drawn().keys() == names
    assert set(errors.__all__) == names | {"Problem"}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_class_hangs_where_it_is_drawn(cls: type[SpikestoreError]) -> None:
    """Its parent is the one that is drawn, and so is its builtin base."""
    parent, builtin = drawn()[cls.__name__]
    ours = [base.__name__ for base in cls.__bases__ if issubclass(base, SpikestoreError)]
    assert ours == ([] if parent is None else [parent])
    theirs = [base.__name__ for base in cls.__bases__ if not issubclass(base, SpikestoreError)]
    assert theirs == ([builtin] if builtin else ["Exception"] if parent is None else [])
    if builtin:
        assert issubclass(cls, getattr(builtins, builtin))


def test_kinds_are_unique_and_machine_readable() -> None:
    """Each class has its own kind, in words with hyphens."""
    kinds = [cls.kind for cls in CLASSES]
    assert len(set(kinds)) == len(kinds)
    assert all("kind" in vars(cls) for cls in CLASSES)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", kind) for kind in kinds)


def test_exit_codes() -> None:
    """Wrong use has exit code 2, all other errors have 1."""
    assert {cls.exit_code for cls in classes(errors.UsageError)} == {2}
    assert {cls.exit_code for cls in CLASSES if not issubclass(cls, errors.UsageError)} == {1}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_errors_survive_pickling(cls: type[SpikestoreError]) -> None:
    """Type, message and details survive at every protocol; the message is printed unchanged."""
    error = cls("what 'happened' is\nthis", path="a/b", rows=(1, 2))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 our own bytes
        assert type(back) is cls
        assert str(back) == back.message == str(error) == "what 'happened' is\nthis"
        assert back.details == {"path": "a/b", "rows": (1, 2)}


def test_errors_come_home_from_another_process() -> None:
    """A spec error of another process, such as a Dask worker, has all its problems here."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        failed = pool.submit(CropTime.from_mapping, {"min": "x"}, origin="recipe.toml").exception()
    assert isinstance(failed, SpecError)
    assert [problem.path for problem in failed.problems] == ["min", "max"]
    assert isinstance(failed.problems[0], Problem)


def test_a_spec_error_without_problems_has_none() -> None:
    """A spec error need not be an error of a document."""
    assert SpecError("wrong").problems == ()
