"""The base of all specs and stored documents: frozen, strict, and telling everything that is wrong at once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from spikestore.store_schemas.errors import DamagedError, Problem, SpecError
from spikestore.store_schemas.specs.canonical import LARGEST_INTEGER, seal, unseal
from spikestore.store_schemas.spelling import did_you_mean


def fraction(value: object) -> object:
    """Turn ``"100/700"`` into the float that Python's ``100 / 700`` is; leave everything else alone."""
    if not isinstance(value, str):
        return value
    numerator, _, denominator = value.partition("/")  # a number in quotes, without a slash, is no fraction
    try:
        return float(numerator) / float(denominator)
    except (ValueError, ZeroDivisionError):
        raise PydanticCustomError(
            "fraction",
            "should be a number or a fraction such as \"100/700\", not '{value}'",
            {"value": value},
        ) from None


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _unsigned_zero(value: float) -> float:
    return value + 0.0  # -0.0 and 0.0 are one parameter


Real = Annotated[float, BeforeValidator(fraction), AfterValidator(_unsigned_zero), Field(allow_inf_nan=False)]
"""A real-valued parameter. Recipes may write it as a fraction, ``"100/700"``."""

Count = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
"""A count from 0 to 2^53 - 1."""

Size = Annotated[int, Field(ge=1, le=LARGEST_INTEGER)]
"""A count from 1 to 2^53 - 1."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 as 64 lower-case hexadecimal digits."""

_NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"  # where `$` is the end: pydantic's engine is Rust's
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}\Z")
"""What a name for people looks like."""

Name = Annotated[str, Field(pattern=_NAME_PATTERN)]
"""A name for people (refs, splits, readers): lower-case letters, digits, ``.``, ``_``, ``-``."""

Location = Annotated[str, Field(min_length=1)]
"""A folder or URL of a store."""

AsTuple = BeforeValidator(_tuple)
"""Lets a list stand for a tuple, as it does in TOML and JSON."""


class Spec(BaseModel):
    """Base of all specs: frozen, strict, unknown fields refused.

    Make one from Python with keyword arguments, from TOML or JSON with `from_mapping`. Both raise `SpecError`
    with every problem and its path.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=True)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise spec_error(error, type(self), type(self).__name__) from None

    # Without this mark pydantic takes the method above for a custom constructor and calls it for nested models
    # too, in Python mode, where a list is no tuple (tests/store_schemas/test_model.py has the case).
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, origin: str) -> Self:
        """Validate a mapping of plain TOML or JSON values.

        Parameters
        ----------
        mapping : mapping
            As a TOML or JSON parser returns it.
        origin : str
            What the mapping was read from; stands in front of every error message.

        Raises
        ------
        SpecError
            The mapping does not fit; all problems are listed.
        """
        foreign: list[Problem] = []
        try:
            text = json.dumps(mapping, allow_nan=False)
        except (TypeError, ValueError):
            foreign = list(_not_json(mapping, ""))
            text = json.dumps(_as_json(mapping))
        try:
            model = cls.model_validate_json(text)
        except ValidationError as error:
            problems = spec_error(error, cls, origin).problems
            # What stood in for a foreign value is no problem of its own, nor is a table that lacks it.
            rest = [one for one in problems if not any(_within(bad.path, one.path) for bad in foreign)]
            raise _spec_error(foreign + rest, origin) from None
        if foreign:
            raise _spec_error(foreign, origin)
        return model

    def to_mapping(self) -> dict[str, Any]:
        """Return plain JSON values, defaults spelled out; shares nothing with the model."""
        return self.model_dump(mode="json")


class Document(Spec):
    """Base of the JSON documents in a store."""

    def to_bytes(self) -> bytes:
        """Return the sealed RFC 8785 bytes of this document."""
        return seal(self.to_mapping())

    @classmethod
    def from_bytes(cls, data: bytes, *, path: str) -> Self:
        """Check and parse a stored document.

        Raises
        ------
        DamagedError
            The bytes do not match their own hash, or are no such document.
        NewerFormatError
            A newer format wrote it.
        """
        document = unseal(data, path=path)
        try:
            return cls.model_validate_json(json.dumps(document))
        except ValidationError as error:
            wrong = spec_error(error, cls, path)
            raise DamagedError(
                f"{path} is not a {cls.__name__.lower()} of this format:\n" + str(wrong).partition("\n")[2],
                path=path,
                objects=(path,),
            ) from None


def spec_error(error: ValidationError, model: type[BaseModel], origin: str) -> SpecError:
    """Turn pydantic's error into one `SpecError` that lists every problem with its path."""
    return _spec_error([_problem(detail, model) for detail in error.errors(include_url=False)], origin)


def _spec_error(problems: list[Problem], origin: str) -> SpecError:
    lines = "".join(f"\n  {problem.path}: {problem.message}" for problem in problems)
    noun = "problem" if len(problems) == 1 else "problems"
    return SpecError(f"{origin}: {len(problems)} {noun}{lines}", origin=origin, problems=problems)


def _as_json(value: object) -> object:
    """Return a value with null for all that `_not_json` finds, so that the rest can be looked at."""
    if isinstance(value, Mapping):
        return {str(name): _as_json(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return None if next(_not_json(value, ""), None) else value


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def _not_json(value: object, path: str) -> Iterator[Problem]:
    """Find what JSON can't carry: TOML's dates, infinities and NaN, and objects of Python's."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _not_json(member, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _not_json(item, f"{path}[{place}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path or "(top)", f"should be a finite number, found {value}")
    elif not isinstance(value, str | int | float | None):
        message = f"should be text, a number, a truth value, a list or a table, found {_short(value)}"
        yield Problem(path or "(top)", message)


def _problem(detail: ErrorDetails, model: type[BaseModel]) -> Problem:
    kind, found = detail["type"], detail["input"]
    path, names = _walk(detail["loc"], model)
    context = detail.get("ctx", {})
    discriminator = str(context.get("discriminator")).strip("'")
    if kind == "extra_forbidden":
        message = f"there is no such field{did_you_mean(path.rpartition('.')[2], names)}; fields are {', '.join(names)}"
    elif kind == "missing":
        message = "is required and was left out"
    elif kind == "union_tag_invalid":
        tags = [tag.strip("' ") for tag in str(context.get("expected_tags", "")).split(",")]
        message = f"unknown {discriminator} '{context.get('tag')}'"
        message += f"{did_you_mean(str(context.get('tag')), tags)}; known are {', '.join(tags)}"
    elif kind == "union_tag_not_found":
        message = f"the field {discriminator} is required and was left out"
    elif kind == "literal_error":
        expected = (
            str(context.get("expected", "")).replace("True", "true").replace("False", "false")
        )  # as in TOML
        options = [option.strip("' ") for option in expected.replace(" or ", ", ").split(",")]
        message = f"should be {expected}, found {found!r}{did_you_mean(str(found), options)}"
    elif kind in {"value_error", "fraction"}:
        message = detail["msg"].removeprefix("Value error, ")
    elif kind == "string_pattern_mismatch" and context.get("pattern") == _NAME_PATTERN:
        message = (
            f"should be 1 to 63 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit, found {found!r}"
        )
    else:
        message = f"{detail['msg'][0].lower()}{detail['msg'][1:]}, found {_short(found)}"
    return Problem(path or "(top)", message)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _walk(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[str, list[str]]:
    """Return the path in the user's document, and the names of the fields at its last step.

    pydantic puts the tag of a discriminated union into the path, which no user wrote: it is left out.
    """
    path, models = "", [model]
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
            continue
        tagged = [one for one in models if step in _tags(one)]
        if tagged and not any(step in one.model_fields for one in models):
            models = tagged
            continue
        path += f".{step}" if path else step
        inner = [
            one for m in models if step in m.model_fields for one in _models(m.model_fields[step].annotation)
        ]
        models = inner or models
    return path, [name for one in models for name in one.model_fields]


def _tags(model: type[BaseModel]) -> set[Any]:
    return {
        tag
        for field in model.model_fields.values()
        for tag in get_args(field.annotation)
        if isinstance(tag, str)
    }


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
