"""The mapping file: which files a log has, and how its columns and events are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from models.profile.interaction_types import DEFAULT_TYPES, InteractionTypes
from models.profile.schema import yaml_path
from storage.loading.log import LoadError
from storage.loading.values.columns import COLUMNS, ENTITIES, Entity
from storage.loading.values.times import FORMATS, is_pattern

SHIPPED = Path(__file__).parent / "mappings"
LONGEST = 990  # characters of a message
SHOWN = 20  # problems of one mapping that a message names

Status = Literal["draft", "published", "removed"]


def _known_type(name: str, info: ValidationInfo) -> str:
    types: InteractionTypes = info.context or DEFAULT_TYPES
    if name not in types:
        *others, last = types.names
        raise ValueError(f"{name:.60} is not one of {', '.join(others)} or {last}")
    return name


TypeName = Annotated[str, AfterValidator(_known_type)]
"""One of the types that the profile has, which is the context of the validation."""


class Step(BaseModel):
    """One step of a scale: numbers from ``at_least`` on mean ``type``; None: all others."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_least: float | None = None
    type: TypeName


class FileForm(BaseModel):
    """A file of the log, and what its form is where that is not found right by itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", description="Path in the folder; * stands for any signs.")
    encoding: str | None = None
    delimiter: str | None = Field(default=None, min_length=1)
    quote: str | None = Field(default=None, description="One sign, or none.")
    escape: str | None = Field(default=None, min_length=1, max_length=1)
    header: bool | None = None
    columns: list[str] | None = Field(default=None, description="Names, instead of a header's.")
    rows: str | None = Field(
        default=None, description="A column or key whose cells hold several rows each."
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("delimiter", mode="after")
    @classmethod
    def _tab(cls, value: str | None) -> str | None:
        return {"\\t": "\t", "tab": "\t"}.get(value or "", value)

    @field_validator("encoding", mode="after")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            "user_id".encode(value or "utf-8")  # of codecs of bytes (rot13, zip) it knows nothing
        except (LookupError, ValueError) as error:
            raise ValueError(
                f"{value!r} is no encoding of text; one is utf-8 or windows-1252"
            ) from error
        return value

    @field_validator("quote", mode="after")
    @classmethod
    def _one_sign(cls, value: str | None) -> str | None:
        if value is not None and value != "none" and len(value) != 1:
            raise ValueError(f"{value!r} is neither one sign nor none")
        return value


class Mapping(BaseModel):
    """Our column name -> the log's, by entity; and the log's event names -> our types."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: dict[Entity, FileForm | None] = Field(
        default={}, description="Which file has which rows; null: that file is not read."
    )
    time_format: str = Field(
        default="auto", description="A name of storage.loading.values.times, or a pattern."
    )
    time_zone: str = Field(default="UTC", description="Of times that have no offset.")
    decimal: Literal[".", ","] | None = Field(
        default=None, description="What parts the decimals of numbers; else as each column shows."
    )
    tag_separator: str = Field(default="|", min_length=1)
    nothing: list[str] = Field(default=[], description="Words that stand for an empty cell.")
    whole_ids: bool = Field(default=False, description="Ids like 12.0 are 12.")
    users: dict[str, str | None] = {}
    items: dict[str, str | None] = {}
    owners: dict[str, str | None] = {}
    interactions: dict[str, str | None] = {}
    types: dict[str, TypeName] = Field(
        default={}, description="The log's event name -> our interaction type."
    )
    statuses: dict[str, Status] = Field(
        default={}, description="The log's word for an item's status -> ours."
    )
    thresholds: dict[str, list[Step]] = Field(
        default={},
        max_length=1,
        description="A column of numbers -> steps, the first that fits gives the type.",
    )
    flags: dict[str, TypeName] = Field(
        default={},
        description="A column of 0 and 1 -> the type where it is set; the first of them counts.",
    )
    default_type: TypeName | None = Field(
        default=None, description="The type of every interaction that nothing else tells one of."
    )
    default_time: Literal["order", "none"] | None = Field(
        default=None, description="Of a log without times: the order of its rows, or nothing."
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_sections(cls, value: Any) -> Any:
        """A section with nothing in it is as if it were not there."""
        if isinstance(value, dict):
            return {name: inner for name, inner in value.items() if inner is not None}
        return value

    @model_validator(mode="after")
    def _known_columns(self) -> Mapping:
        for entity in COLUMNS:
            names = [column.name for column in COLUMNS[entity]]
            for name in getattr(self, entity):
                if name not in names:
                    raise ValueError(
                        f"{entity}.{name}: no such column; there are {', '.join(names)}"
                    )
        return self

    @field_validator("time_format", mode="after")
    @classmethod
    def _form(cls, value: str) -> str:
        if value not in FORMATS and not is_pattern(value):
            raise ValueError(
                f"{value!r} is neither one of {', '.join(FORMATS)} nor the pattern of a date, such "
                "as %d.%m.%Y %H:%M"
            )
        return value

    @field_validator("time_zone", mode="after")
    @classmethod
    def _zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo

        try:
            return ZoneInfo(value).key
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone; one is Europe/Berlin") from error

    def columns(self, entity: Entity) -> dict[str, str]:
        """Our name -> the log's, as far as the file says."""
        named: dict[str, str | None] = getattr(self, entity)
        return {ours: theirs for ours, theirs in named.items() if theirs is not None}

    def wanted(self, entity: Entity) -> dict[str, str]:
        """Our name -> the log's, of all columns to look for.

        A column that the mapping gives to one of ours is not looked for under its own name,
        and one that it switches off (null) is not looked for at all.
        """
        given = self.columns(entity)
        taken = set(given.values())
        if entity == "interactions":
            taken |= {*self.thresholds, *self.flags}
        off = set(getattr(self, entity)) - set(given)
        if entity == "interactions" and (self.default_time and "occurred_at" not in given):
            off.add("occurred_at")
        ours = [column.name for column in COLUMNS[entity]]
        return {
            name: given.get(name, name)
            for name in ours
            if name in given or (name not in taken and name not in off)
        }


def load_mapping(name_or_path: str | Path, types: InteractionTypes = DEFAULT_TYPES) -> Mapping:
    """Read the mapping that ships under a name, or the YAML file at a path.

    Raises:
        LoadError: no such file, not YAML, or a field is wrong; the message names line and word.
    """
    path = yaml_path(name_or_path, SHIPPED)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        raise LoadError(
            f"mapping {str(name_or_path)!r} cannot be read ({error.strerror}). "
            f"Give the path of a YAML file, or one that ships: {names}."
        ) from error
    except UnicodeDecodeError as error:
        raise LoadError(f"mapping {path} is not valid YAML: {error}") from error
    return read_mapping(text, f"mapping {path}", types)


def read_mapping(text: str, what: str, types: InteractionTypes = DEFAULT_TYPES) -> Mapping:
    """Read YAML; errors call it ``what``.

    Raises:
        LoadError: not YAML, or a field is wrong; the message names line and word.
    """
    try:
        node = yaml.compose(text, _Words)
        content = yaml.load(text, _Words)
    except yaml.YAMLError as error:
        message = " ".join(str(error).split()).replace('in "<unicode string>", ', "")
        raise LoadError(f"{what} is not valid YAML: {message}") from error
    try:
        return Mapping.model_validate({} if content is None else content, context=types)
    except ValidationError as error:
        problems = error.errors()
        lines = [
            f"line {_line(node, problem['loc'])}: {_sentence(problem)}"
            for problem in problems[:SHOWN]
        ]
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise LoadError(f"{what}: {'; '.join(lines)}{more}"[:LONGEST]) from error


class _Words(yaml.SafeLoader):
    """Reads every scalar as the word that stands there, but for null: yes, no and 0 are names."""


_Words.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _construct_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[str, Any]:
    loader.flatten_mapping(node)
    values: dict[str, Any] = {}
    for key, value in node.value:
        name = _word(loader, key)
        if name in values:
            message = f"{name!r} stands there twice"
            raise yaml.constructor.ConstructorError(problem=message, problem_mark=key.start_mark)
        values[name] = loader.construct_object(value, deep=True)
    return values


def _construct_sequence(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> list[Any]:
    return [_word(loader, value) for value in node.value]


def _word(loader: yaml.SafeLoader, node: yaml.Node) -> Any:
    """A scalar as it stands there: a key or a word of a list may be null, too."""
    if isinstance(node, yaml.ScalarNode):
        return node.value
    return loader.construct_object(node, deep=True)


_Words.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_Words.add_constructor("tag:yaml.org,2002:seq", _construct_sequence)


def _line(node: yaml.Node | None, place: tuple[int | str, ...]) -> int:
    """The line, from 1, where that part of the mapping stands."""
    line = node.start_mark.line if node else 0
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1


def _sentence(problem: Any) -> str:
    """A problem of pydantic's in words of the mapping."""
    where = ".".join(str(part) for part in problem["loc"] if part != "[key]") or "it"
    given, kind = problem.get("input"), problem["type"]
    if kind == "extra_forbidden":
        fields = ", ".join(Mapping.model_fields) if "." not in where else "those of the docs"
        return f"{where}: no such field; there are {fields}"
    if kind == "literal_error":
        if "[key]" in problem["loc"]:
            return f"{where}: there are {', '.join(ENTITIES)}"
        return f"{where}: {given!r} is not one of {problem['ctx']['expected']}".replace("'", "")
    if kind in ("string_type", "float_parsing", "float_type", "bool_parsing"):
        wanted = {"string_type": "a name", "bool_parsing": "yes or no"}.get(kind, "a number")
        return f"{where}: {wanted} is wanted, not {given!r}"
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return f"{where}: lines of `name: value` are wanted, not {given!r}"
    if kind in ("string_too_short", "string_too_long"):
        return f"{where}: {'a sign' if kind == 'string_too_short' else 'one sign'} is wanted"
    if kind == "too_long":
        return f"{where}: one column alone can tell the types"
    if kind == "list_type":
        return f"{where}: a list is wanted, as in [one, two], not {given!r}"
    message = problem["msg"].removeprefix("Value error, ")
    return message if where == "it" else f"{where}: {message}"
