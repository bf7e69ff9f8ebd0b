"""Base classes of specs and stored documents: frozen and strict models that report every fault at once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Self, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from spikestore.store_schemas.errors import DamagedError, Problem, SpecError
from spikestore.store_schemas.specs.canonical import LARGEST_INTEGER, seal, unseal
from spikestore.store_schemas.wording import did_you_mean


def fraction(value: object) -> object:
    """Return the quotient of a text such as ``"100/700"`` as a float; raise an error for any other text. A value that is not a text is returned unchanged."""
    if not isinstance(value, str):
        return value
    numerator, _, denominator = value.partition("/")  # a quoted number without a slash is rejected
    try:
        return float(numerator) / float(denominator)
    except (ValueError, ZeroDivisionError):
        raise PydanticCustomError(
            "fraction",
            "must be a number or a fraction such as \"100/700\", got '{value}'",
            {"value": value},
        ) from None


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _without_polarities(size: object) -> object:
    return size[:2] if isinstance(size, list | tuple) and len(size) == 3 else size


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

_NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"  # `$` matches the end of the text only: pydantic uses Rust's regular expressions
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}\Z")
"""Pattern of a valid `Name`."""

Name = Annotated[str, Field(pattern=_NAME_PATTERN)]
"""A name of a ref, split or reader: lower-case letters, digits, ``.``, ``_``, ``-``."""

Location = Annotated[str, Field(min_length=1)]
"""A folder or URL of a store."""

AsTuple = BeforeValidator(_tuple)
"""Accepts a list in place of a tuple, because TOML and JSON have only lists."""

PlaneSize = Annotated[tuple[Size, Size], BeforeValidator(_without_polarities), AsTuple]
"""Size (x, y) of a sensor; a third size, the number of polarities, is dropped."""


class Spec(BaseModel):
    """Base of all specs: frozen and strict; unknown fields are rejected.

    Create a spec with keyword arguments, or from TOML or JSON with `from_mapping`. Both ways raise `SpecError` with every fault
    and its path; but rules about several fields of a spec are checked only if each of these fields is valid.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", validate_default=True)

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise spec_error(error, type(self), type(self).__name__) from None

    # Without this mark pydantic treats the method above as a custom constructor and calls it for nested models
    # too, in Python mode, where a list is not a tuple (tested in tests/store_schemas/test_model.py).
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, origin: str) -> Self:
        """Return the model of a mapping of plain TOML or JSON values.

        Parameters
        ----------
        mapping : mapping
            The result of a TOML or JSON parser.
        origin : str
            File or object that the mapping was read from; every error message begins with it.

        Raises
        ------
        SpecError
            The mapping does not fit the model; all faults are listed.
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
            # The null that replaces a foreign value causes further problems: they are dropped.
            rest = [
                problem for problem in problems if not any(_within(bad.path, problem.path) for bad in foreign)
            ]
            raise _spec_error(foreign + rest, origin) from None
        if foreign:
            raise _spec_error(foreign, origin)
        return model

    def to_mapping(self) -> dict[str, Any]:
        """Return the fields as new, plain JSON values. Defaults are included, unless the serializer of a model omits them."""
        return self.model_dump(mode="json")


class Document(Spec):
    """Base of all JSON documents in a store."""

    def to_bytes(self) -> bytes:
        """Return this document as canonical JSON (RFC 8785) that contains its own SHA-256.

        Raises
        ------
        SpecError
            See `seal`. Only a field that accepts values of any type, such as a manifest's provenance, can cause this error.
        """
        return seal(self.to_mapping())

    @classmethod
    def from_bytes(cls, data: bytes, *, path: str) -> Self:
        """Return the document in `data` after checking its hash and its fields.

        Raises
        ------
        DamagedError
            The bytes do not match their own hash, do not fit the model, or lack a member. In a stored document, members
            with a default are required too, if spikestore always writes them.
        NewerFormatError
            The document has a newer format.
        """
        document = unseal(data, path=path)
        try:
            model = cls.model_validate_json(json.dumps(document))
        except ValidationError as error:
            raise cls._other_format(spec_error(error, cls, path), path) from None
        missing = [*_missing_members(model)]
        if missing:
            raise cls._other_format(_spec_error(missing, path), path)
        return model

    @classmethod
    def _other_format(cls, faults: SpecError, path: str) -> DamagedError:
        return DamagedError(
            f"{path} is not a valid {cls.__name__.lower()}:\n" + str(faults).partition("\n")[2],
            path=path,
            objects=(path,),
        )


def spec_error(error: ValidationError, model: type[BaseModel], origin: str) -> SpecError:
    """Return a `SpecError` that lists every fault in pydantic's error, each with the path of the field."""
    return _spec_error([_problem(detail, model) for detail in error.errors(include_url=False)], origin)


def _spec_error(problems: list[Problem], origin: str) -> SpecError:
    lines = "".join(f"\n  {problem.path}: {problem.message}" for problem in problems)
    noun = "problem" if len(problems) == 1 else "problems"
    return SpecError(f"{origin}: {len(problems)} {noun}{lines}", origin=origin, problems=problems)


def _as_json(value: object) -> object:
    """Return a value in which None replaces everything that `_not_json` reports, so that the rest can be validated."""
    if isinstance(value, Mapping):
        return {str(name): _as_json(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return None if next(_not_json(value, ""), None) else value


def _within(path: str, outer: str) -> bool:
    return path == outer or path.startswith((f"{outer}.", f"{outer}["))


def _not_json(value: object, path: str) -> Iterator[Problem]:
    """Yield a problem for each value that JSON lacks: TOML's dates, infinity, NaN, Python objects."""
    if isinstance(value, Mapping):
        for name, member in value.items():
            yield from _not_json(member, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield Problem(path or "(top)", f"must be a finite number, got {value}")
    elif not isinstance(value, str | int | float | None):
        message = f"must be a string, a number, a boolean, a list or a table, got {_short(value)}"
        yield Problem(path or "(top)", message)


def _problem(detail: ErrorDetails, model: type[BaseModel]) -> Problem:
    kind, value = detail["type"], detail["input"]
    path, names = _walk(detail["loc"], model)
    context = detail.get("ctx", {})
    discriminator = str(context.get("discriminator")).strip("'")
    if kind == "extra_forbidden":
        message = f"unknown field{did_you_mean(path.rpartition('.')[2], names) or ';'} fields are {', '.join(names)}"
    elif kind == "missing":
        message = "required list item is missing" if path.endswith("]") else "required field is missing"
    elif kind == "union_tag_invalid":
        tags = [tag.strip("' ") for tag in str(context.get("expected_tags", "")).split(",")]
        message = f"unknown {discriminator} '{context.get('tag')}'"
        message += f"{did_you_mean(str(context.get('tag')), tags) or ';'} use one of {', '.join(tags)}"
    elif kind == "union_tag_not_found":
        message = f"required field {discriminator} is missing"
    elif kind == "literal_error":
        # Spelled as in TOML.
        expected = str(context.get("expected", "")).replace("True", "true").replace("False", "false")
        options = [option.strip("' ") for option in expected.replace(" or ", ", ").split(",")]
        message = f"must be {expected}, got {value!r}{did_you_mean(str(value), options)}"
    elif kind in {"value_error", "fraction"}:
        message = detail["msg"].removeprefix("Value error, ")
    elif kind == "string_pattern_mismatch" and context.get("pattern") == _NAME_PATTERN:
        message = f"must have 1 to 63 characters of a-z, 0-9, '.', '_', '-', and must start with a letter or digit, got {value!r}"
    else:
        message = re.sub(r"^\w+ should ", "must ", detail["msg"])
        message = f"{message[0].lower()}{message[1:]}, got {_short(value)}"
    return Problem(path or "(top)", message)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _missing_members(model: Spec, path: str = "") -> Iterator[Problem]:
    """Yield a problem for each member that spikestore always writes, but that the document of `model` lacks."""
    unset = type(model).model_fields.keys() - model.model_fields_set
    for name in model.model_dump(mode="json", include=set(unset)) if unset else ():
        yield Problem(f"{path}{name}", "required field is missing")
    for name in _members_with_defaults(type(model)) - unset:
        value = getattr(model, name)
        for place, item in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            if isinstance(item, Spec):
                yield from _missing_members(item, f"{path}{name}{'' if place is None else f'[{place}]'}.")


@cache
def _members_with_defaults(model: type[BaseModel]) -> frozenset[str]:
    """Return the names of the members that contain models with defaults, at any depth.

    Only these members need a search for missing fields. For example, the list of files may be long, but no member of a file has
    a default, so the list is not searched.
    """
    return frozenset(
        name
        for name, field in model.model_fields.items()
        for inner in _models(field.annotation)
        if _members_with_defaults(inner)
        or not all(each.is_required() for each in inner.model_fields.values())
    )


def _walk(location: tuple[int | str, ...], model: type[BaseModel]) -> tuple[str, list[str]]:
    """Return the path, in the user's document, of a fault that pydantic found at `location`, and the valid field names at this path.

    pydantic's path contains the tag of a discriminated union. The tag is removed, because the document's path has no tag.
    """
    path, models = "", [model]
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
            continue
        tagged = [m for m in models if step in _tags(m)]
        if tagged and not any(step in m.model_fields for m in models):
            models = tagged
            continue
        path += f".{step}" if path else step
        inner = [
            n for m in models if step in m.model_fields for n in _models(m.model_fields[step].annotation)
        ]
        models = inner or models
    return path, [name for m in models for name in m.model_fields]


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
