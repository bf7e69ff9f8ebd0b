"""Specs are frozen and strict, and report all faults at once, each with its path."""

from __future__ import annotations

import datetime
import math
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from spikestore.store_schemas.errors import DamagedError, NewerFormatError, SpecError
from spikestore.store_schemas.specs.canonical import LARGEST_INTEGER, seal
from spikestore.store_schemas.specs.model import AsTuple, Count, Document, Name, Real, Sha256, Size, Spec
from spikestore.store_schemas.specs.operations import CropTime, Downsample, ToFrame
from spikestore.store_schemas.specs.transform import Transform


class Inner(Spec):
    pair: Annotated[tuple[Size, Size], AsTuple] = (1, 1)
    factor: Real = 1.0


class Outer(Spec):
    inner: Inner = Inner()
    many: Annotated[tuple[Inner, ...], AsTuple] = ()
    count: Count = 0
    name: Name = "a"
    sha256: Sha256 = "0" * 64
    colour: Literal["red", "green"] = "red"
    switch: bool = False


class Paper(Document):
    format: Literal[1] = 1
    factor: Real
    many: Annotated[tuple[Inner, ...], AsTuple] = ()


def problems(mapping: dict[str, Any], model: type[Spec] = Outer) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        model.from_mapping(mapping, origin="test.toml")
    assert str(caught.value).startswith(f"test.toml: {len(caught.value.problems)} problem")
    assert all(f"\n  {path}: {message}" in str(caught.value) for path, message in caught.value.problems)
    return dict(caught.value.problems)


def test_all_problems_are_listed_with_their_paths() -> None:
    """The first problem does not hide others, also inside nested models."""
    found = problems(
        {
            "inner": {"pair": [1, 0], "factor": "x/2"},
            "many": [{}, {"pair": [1]}, {"factor": None}],
            "count": -1,
            "name": "Not a name",
            "sha256": "0" * 63,
            "colour": "gren",
            "switch": 1,
            "cuont": 3,
        }
    )
    assert found.keys() == {
        "inner.pair[1]",
        "inner.factor",
        "many[1].pair[1]",
        "many[2].factor",
        "count",
        "name",
        "sha256",
        "colour",
        "switch",
        "cuont",
    }
    assert found["inner.factor"] == "must be a number or a fraction such as \"100/700\", got 'x/2'"
    assert found["cuont"].startswith("unknown field, did you mean 'count'? fields are inner, many, count")
    assert found["colour"] == "must be 'red' or 'green', got 'gren', did you mean 'green'?"
    same = problems({"version": "1", "max": 1}, CropTime)
    assert same == {"version": "must be 1, got '1'"}
    assert found["count"] == "must be greater than or equal to 0, got -1"


def test_problems_inside_a_chain_have_the_path_in_the_users_document() -> None:
    """The path does not contain pydantic's tag of the union; unknown operations and fields get the nearest name."""
    found = problems(
        {
            "operations": [
                {"op": "downsample", "spatial_factr": 1},
                {"op": "crop_tme", "max": 1},
                {"max": 1},
                {"op": "to_frame", "sensor_size": [1, 1, 1], "time_window": 1, "overlap": 1},
            ],
            "max_bins": 0,
        },
        Transform,
    )
    assert found.keys() == {
        "operations[0].spatial_factr",
        "operations[1]",
        "operations[2]",
        "operations[3]",
        "max_bins",
    }
    assert (
        "did you mean 'spatial_factor'? fields are op, version, time_factor"
        in found["operations[0].spatial_factr"]
    )
    assert found["operations[1]"].startswith(
        "unknown op 'crop_tme', did you mean 'crop_time'? use one of downsample"
    )
    assert found["operations[2]"] == "required field op is missing"
    assert found["operations[3]"] == "overlap must be below 1 with time_window, got 1"


def test_python_and_recipes_get_the_same_messages() -> None:
    """A constructor's error also lists all problems, and is a SpecError instead of pydantic's error."""
    with pytest.raises(SpecError) as caught:
        CropTime(min="a", max=math.nan, mox=1)  # type: ignore[call-arg, arg-type]
    assert [path for path, _ in caught.value.problems] == ["min", "max", "mox"]
    assert not isinstance(caught.value, ValidationError)
    assert caught.value.__cause__ is None


def test_a_required_field_that_is_left_out_is_named() -> None:
    """`max` and `sensor_size` are required; Tonic guesses them."""
    assert problems({}, CropTime) == {"max": "required field is missing"}
    assert "sensor_size" in problems({"time_window": 1}, ToFrame)
    assert problems({"time_window": 1, "sensor_size": [9, 9]}, ToFrame) == {
        "sensor_size[2]": "required list item is missing"
    }


def test_lists_stand_for_tuples_at_every_depth() -> None:
    """TOML and JSON have lists instead of tuples; lists from Python are accepted too."""
    made = Outer.from_mapping({"inner": {"pair": [2, 3]}, "many": [{"pair": [4, 5]}]}, origin="test")
    assert (made.inner.pair, made.many[0].pair) == ((2, 3), (4, 5))
    assert Outer(inner={"pair": [2, 3]}, many=[{"pair": [4, 5]}]) == made  # type: ignore[arg-type]
    assert Outer(inner=Inner(pair=(2, 3)), many=(Inner(pair=(4, 5)),)) == made


class Listing(Spec):
    plain: tuple[int, ...] = ()


class Holder(Spec):
    listing: Listing


def test_nested_models_are_validated_as_json_too() -> None:
    """Without `__pydantic_base_init__` pydantic calls our __init__ for nested models, in Python mode.

    In this mode a list is no tuple, and the problems of the nested model would be one message without paths.
    """
    assert Holder.from_mapping({"listing": {"plain": [1, 2]}}, origin="test").listing.plain == (1, 2)
    assert problems({"listing": {"plain": [1, "x", "y"], "other": 1}}, Holder).keys() == {
        "listing.plain[1]",
        "listing.plain[2]",
        "listing.other",
    }


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_fractions_are_quotients(numerator: int, denominator: int) -> None:
    """In a recipe and from Python, with spaces or without."""
    for text in (f"{numerator}/{denominator}", f" {numerator} / {denominator} "):
        assert Inner.from_mapping({"factor": text}, origin="test").factor == numerator / denominator
        assert Inner(factor=text).factor == numerator / denominator  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "/", "1/", "/2", "1/0", "0/0", "1/2/3", "a", "1//2", "0x1/2"])
def test_invalid_fractions_are_rejected(text: str) -> None:
    """Division by zero included, without a traceback."""
    assert "fraction such as" in problems({"factor": text}, Inner)["factor"]


def test_values_that_json_lacks_hide_no_other_problem() -> None:
    """A NaN or a date is one problem among all others; its substitute causes no further problem."""
    found = problems(
        {
            "inner": {"factor": math.nan, "facter": 1},
            "many": [{"factor": datetime.date(2026, 1, 1)}, 3],
            "nothing": 1,
        }
    )
    assert found["inner.factor"] == "must be a finite number, got nan"
    assert found["many[0].factor"].endswith("got datetime.date(2026, 1, 1)")
    assert set(found) == {"inner.factor", "inner.facter", "many[0].factor", "many[1]", "nothing"}
    assert set(problems({"inner": datetime.date(2026, 1, 1), "nothing": 1})) == {"inner", "nothing"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_refused_with_their_path(value: float) -> None:
    """TOML can contain them, JSON can't."""
    assert problems({"inner": {"factor": value}, "many": [{}, {"factor": value}]}) == {
        "inner.factor": f"must be a finite number, got {value}",
        "many[1].factor": f"must be a finite number, got {value}",
    }
    for text in (f"{value}/1", "1e308/1e-308"):
        assert "finite number" in problems({"factor": text}, Inner)["factor"]
        with pytest.raises(SpecError, match="finite"):
            Inner(factor=text)  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="finite"):
        Inner(factor=value)


def test_values_that_json_does_not_have_are_named() -> None:
    """A date in a recipe is an error with a path, not a traceback."""
    found = problems({"inner": {"factor": datetime.date(2026, 1, 1)}, "name": "a"})
    message = "must be a string, a number, a boolean, a list or a table, got datetime.date(2026, 1, 1)"
    assert found == {"inner.factor": message}


@pytest.mark.parametrize("value", [2**53, 10**30, 10**400])
def test_huge_integers_are_refused(value: int) -> None:
    """RFC 8785 stops at 2^53 - 1, and nothing is rounded to it in silence."""
    assert "count" in problems({"count": value})
    assert "inner.pair[0]" in problems({"inner": {"pair": [value, 1]}})
    with pytest.raises(SpecError):
        Outer(count=value)


def test_real_parameters_take_huge_whole_numbers() -> None:
    """With `int | float`, 1e17 was accepted and 10**17 rejected. A number that is too large for a float is an error."""
    assert Inner(factor=10**17) == Inner(factor=1e17)
    assert Inner.from_mapping({"factor": 10**17}, origin="test") == Inner(factor=1e17)
    assert "factor" in problems({"factor": 10**400}, Inner)
    assert Outer(count=LARGEST_INTEGER).count == LARGEST_INTEGER


@pytest.mark.parametrize(
    "mapping",
    [{"count": 1.0}, {"count": "1"}, {"count": True}, {"switch": 0}, {"switch": "true"}, {"name": 1}],
)
def test_nothing_is_coerced(mapping: dict[str, Any]) -> None:
    """A count must be a whole number, a switch must be true or false, a text must be text; also from Python."""
    assert problems(mapping).keys() == mapping.keys()
    with pytest.raises(SpecError):
        Outer(**mapping)


def test_zero_has_no_sign() -> None:
    """-0.0 and 0.0 are the same parameter, in a document and in a key."""
    for zero in (-0.0, "-0/1", "-0/5", "0/-5"):
        assert str(Inner(factor=zero).factor) == "0.0"  # type: ignore[arg-type]


def test_truth_values_are_no_numbers() -> None:
    """True is not 1.0."""
    assert "factor" in problems({"factor": True}, Inner)
    with pytest.raises(SpecError):
        Inner(factor=True)


def test_numpy_scalars_never_reach_a_document() -> None:
    """A number of numpy in a real field is written as Python's float, with the same value."""
    made = Inner(factor=np.float64(0.1))
    assert type(made.to_mapping()["factor"]) is float
    assert made == Inner(factor=0.1)
    with pytest.raises(SpecError):
        Outer(count=np.int64(1))  # type: ignore[arg-type]


def test_specs_are_frozen_and_hashable() -> None:
    """Keys come from specs that nobody changes afterwards."""
    spec = Inner()
    with pytest.raises(ValidationError, match="frozen"):
        spec.factor = 2.0  # type: ignore[misc]
    assert len({spec, Inner(), Inner(factor=2)}) == 2


def test_mappings_share_nothing_with_the_model() -> None:
    """Changing the result of `to_mapping` changes no model."""
    spec = Outer(many=(Inner(),))
    spec.to_mapping()["many"][0]["pair"][0] = 9
    assert spec.many[0].pair == (1, 1)


def test_not_even_a_mapping() -> None:
    """A list or a number instead of a document has a message of ours."""
    with pytest.raises(SpecError, match="object"):
        Outer.from_mapping([1], origin="test")  # type: ignore[arg-type]


def test_documents_survive_the_store() -> None:
    """Bytes are sealed RFC 8785; reading them gives the same model."""
    paper = Paper(factor="1/3", many=(Inner(pair=(1, 2)),))  # type: ignore[arg-type]
    assert Paper.from_bytes(paper.to_bytes(), path="p") == paper
    assert paper.to_bytes() == seal(paper.to_mapping())


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"factor": 1, "extra": 1},
        {"factor": "x"},
        {"format": 1.5, "factor": 1},
        {"factor": 1, "many": [{"pair": [0, 1]}]},
    ],
)
def test_an_intact_document_of_another_shape_is_damaged(content: dict[str, Any]) -> None:
    """A valid hash does not make a document; the error names the object and the fields."""
    with pytest.raises(DamagedError, match="some/path is not a valid paper:\n  ") as caught:
        Paper.from_bytes(seal({"format": 1, **content}), path="some/path")
    assert caught.value.details["objects"] == ("some/path",)


def test_a_document_of_a_newer_format_is_no_damage() -> None:
    """Its fields are not checked."""
    with pytest.raises(NewerFormatError):
        Paper.from_bytes(seal({"format": 2, "new": True}), path="p")


def test_default_of_every_operation_is_valid() -> None:
    """Defaults are validated like given values."""
    assert Downsample().spatial_factor == (1.0, 1.0)


def test_field_constraints_on_wrapped_reals_hold() -> None:
    """A limit on a real number also holds for fractions."""

    class Bounded(Spec):
        factor: Annotated[Real, Field(gt=0)]

    assert "factor" in problems({"factor": "-1/2"}, Bounded)
