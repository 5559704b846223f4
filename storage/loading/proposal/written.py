"""A proposal -> YAML with comments, as a person would write it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from storage.loading.mapping import Step
from storage.loading.proposal.draft import Proposal
from storage.loading.proposal.looks import Column, Look
from storage.loading.reading.files import listed, stem
from storage.loading.reading.forms.form import BY_COLUMNS
from storage.loading.reading.joined import parts_of
from storage.loading.values.columns import ENTITIES

EXAMPLE = 40  # characters of a cell that a comment shows
FILES = 20  # that are named as not used

_PLAIN = re.compile(r"[A-Za-z_][\w.\-/*]*( [\w.\-/*]+)*$")
_SPECIAL = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")


def written(proposal: Proposal) -> str:
    """The mapping as YAML; ``load --mapping`` takes it as it is."""
    return "\n".join([*_head(proposal), *_files(proposal), *_times(proposal), *_columns(proposal),
                      *_types(proposal), *_rest(proposal)]) + "\n"  # fmt: skip


def _head(proposal: Proposal) -> Iterator[str]:
    yield f"# What `feedwright map {proposal.folder}` found. Check it, change it, and load with it:"
    yield f"#   feedwright load {proposal.folder} --mapping THIS_FILE"
    yield "# docs/loading.md tells all that a mapping can say."
    yield ""


def _files(proposal: Proposal) -> Iterator[str]:
    yield "files:"
    for entity in ENTITIES:
        if (look := proposal.files.get(entity)) is None:
            if any(stem(Path(name)) == entity for name in proposal.unused):
                yield f"  {entity}: null  # the file of that name is not used"
            continue
        name = _word(look.name)
        entry = f"{{name: {name}, rows: {_word(look.inner)}}}" if look.inner else name
        yield f"  {entity}: {entry}  # {_form(look)}"
    for name, why in list(proposal.unused.items())[:FILES]:
        yield f"  # not used: {_printable(name)}: {_printable(' '.join(why.split()))}"
    if len(proposal.unused) > FILES:
        yield f"  # and {len(proposal.unused) - FILES} more"
    if proposal.passed_over:
        yield f"  # passed over by their names: {_printable(listed(proposal.passed_over))}"
    yield ""


def _times(proposal: Proposal) -> Iterator[str]:
    if proposal.time_format:
        yield f"time_format: {_word(proposal.time_format)}  # {proposal.why.get('time_format', '')}"
        yield ""
    if proposal.default_time:
        why = proposal.why.get("default_time", "no column tells a time")
        yield f"# {why}: the rows are taken in their order (`none`: all at once). Trending, recency"
        yield "# and the evaluation on the latest interactions then mean little."
        yield f"default_time: {proposal.default_time}"
        yield ""


def _columns(proposal: Proposal) -> Iterator[str]:
    for entity in ("interactions", "items", "users"):
        columns = proposal.columns.get(entity)
        if not columns:
            continue
        if why := proposal.why.get(entity):
            yield f"# {why}"
        yield f"{entity}:"
        source = proposal.files.get(entity, proposal.files["interactions"])
        for ours, theirs in columns.items():
            if theirs is None:
                yield f"  {ours}: null  # the column of that name is something else"
            else:
                first = (parts_of(theirs) or [theirs])[0]
                yield f"  {ours}: {_word(theirs)}  # {_examples(source.column(first))}"
        yield ""


def _types(proposal: Proposal) -> Iterator[str]:
    if proposal.types:
        yield "# Your event: our type (impression, view, click, dwell, like, save, share, apply,"
        yield "# unapply, dismiss, search, filter)."
        yield "types:"
        for word, kind in proposal.types.items():
            why = proposal.why.get(f"types.{word}")
            yield f"  {_word(word)}: {kind}" + (f"  # {why}" if why else "")
        yield ""
    if proposal.scale:
        name, steps = proposal.scale
        yield "# What a number means; the first step that fits counts."
        if why := proposal.why.get("thresholds"):
            yield f"# {why}"
        yield "thresholds:"
        yield f"  {_word(name)}:"
        yield from (f"    - {_step(step)}" for step in steps)
        yield ""
    if proposal.flags:
        yield "# Columns that tell whether something was done: the first that is set counts."
        yield "flags:"
        yield from (f"  {_word(name)}: {kind}" for name, kind in proposal.flags.items())
        yield f"default_type: {proposal.default_type}  # where none is set"
        yield ""
    elif proposal.default_type:
        yield "# No column tells what was done: every row is of this type, by the file's name or as"
        yield "# a guess."
        yield f"default_type: {proposal.default_type}"
        yield ""


def _rest(proposal: Proposal) -> Iterator[str]:
    if proposal.tag_separator and proposal.tag_separator != "|":
        yield f"tag_separator: {json.dumps(proposal.tag_separator)}"
    if proposal.statuses:
        words = ", ".join(f"{_word(word)}: {status}" for word, status in proposal.statuses.items())
        yield f"statuses: {{{words}}}  # draft and removed items are not shown"
    if proposal.nothing:
        words = ", ".join(_word(word) for word in proposal.nothing)
        yield f"nothing: [{words}]  # words that stand where there is no user or item"
    if proposal.whole_ids:
        yield "whole_ids: yes  # ids like 12.0 are 12"


def _step(step: Step) -> str:
    bound = "" if step.at_least is None else f"at_least: {step.at_least:g}, "
    return f"{{{bound}type: {step.type}}}"


def _form(look: Look) -> str:
    names = {"\t": "tabs", ",": "commas", ";": "semicolons", " ": "spaces", "\x01": "0x01"}
    form = look.form
    if form.kind in BY_COLUMNS:
        return form.kind.capitalize()
    if form.kind == "blocks":
        return f"a block of lines each, {form.encoding}"
    if form.kind != "csv":
        return f"JSON, {form.encoding}"
    header = "" if form.header else ", no header"
    delimiter = str(form.document()["delimiter"])
    return f"parted by {names.get(delimiter, delimiter)}, {form.encoding}{header}"


def _examples(column: Column) -> str:
    cells = column.text.drop_nulls().unique(maintain_order=True).head(3).to_list()
    shown = (" ".join(cell.split())[:EXAMPLE] for cell in cells)
    return "such as " + ", ".join(map(_printable, shown)) if cells else "empty"


def _printable(text: str) -> str:
    """Without the signs that YAML does not take, and the one that begins a comment."""
    return "".join(sign for sign in text if sign.isprintable() and sign != "#")


def _word(text: str | None) -> str:
    """A scalar of YAML; in quotes where it might be read as something else."""
    text = text or ""
    if _PLAIN.match(text) and text.lower() not in _SPECIAL:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
