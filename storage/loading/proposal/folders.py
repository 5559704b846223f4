"""The files of a folder that a proposal looks at, and which of them are parts of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

from models.profile.interaction_types import InteractionTypes
from storage.loading.log import LoadError
from storage.loading.names import type_of
from storage.loading.proposal.draft import Proposal
from storage.loading.proposal.looks import Look, look
from storage.loading.proposal.roles import is_libsvm, is_matrix
from storage.loading.reading.files import data_files, parts, stem

MOST_FILES = 60
MOST_SHARED = 0.7  # of the columns of one part, that another must have
DEEPEST = 3  # folders within the folder that files are looked for in
NO_DATA = (".md", ".pdf", ".png", ".jpg", ".html", ".py", ".pl", ".sh", ".yaml", ".yml", ".info",
           ".vec", ".r", ".ipynb")  # fmt: skip
NO_KINDS = ("", "no", "yes", "up", "down", "book", "books", "page", "pages", "star", "stars",
            "show", "shows", "start", "add", "return", "cv", "pv", "true", "false", "report",
            "reports", "answer", "filter", "filtered", "order", "open", "app", "detail",
            "details")  # fmt: skip
"""Words that tell an event in a column of events, and little in the name of a file."""
LIBSVM = "has features and their values (17:0.5), and does not say which are users and items"
MATRIX = (
    "seems to be a matrix, a row for each user and a column for each item: write a row for each "
    "rating, for example with pandas:  frame.melt(id_vars=USER, var_name='item_id')"
)


def looks_of(folder: Path, proposal: Proposal, types: InteractionTypes) -> list[Look]:
    """A look at each file; those that hold nothing of use are named in ``found.unused``."""
    files = {folder.name: [folder]} if folder.is_file() else _data(folder)
    looks = []
    for name, several in list(files.items())[:MOST_FILES]:
        if name.lower().endswith(NO_DATA) or stem(several[0]) in ("readme", "license", "licence"):
            proposal.passed_over.append(name)
            continue
        try:
            looks.append(look(name, several, types))
        except LoadError as error:
            proposal.unused[name] = str(error).replace(f"{several[0]}", "it", 1)[:200]
    for look_ in list(looks):
        why = MATRIX if is_matrix(look_) else LIBSVM if is_libsvm(look_) else None
        if why is not None:
            looks.remove(look_)
            proposal.unused[look_.name] = why
    return looks


def _data(folder: Path) -> dict[str, list[Path]]:
    """Files by their path in the folder, also those some folders further down."""
    if whole := parts(folder):
        return {".": whole}
    return {
        file.relative_to(folder).as_posix(): parts(file) or [file]
        for place in _folders(folder, DEEPEST)
        for file in data_files(place)
    }


def _folders(folder: Path, deeper: int) -> Iterator[Path]:
    """The folder and those within it, which are no files in parts."""
    yield folder
    for inner in sorted(folder.iterdir()) if deeper else ():
        if inner.is_dir() and not inner.name.startswith(("_", ".")) and not parts(inner):
            yield from _folders(inner, deeper - 1)


def kind_of(look: Look) -> str | None:
    """The type of events that the name of a file tells: ``train_purchases.csv``."""
    words = re.split(r"[\W\d_]+", stem(look.files[0]).lower())
    kinds = (type_of(word, look.types) for word in words if word not in NO_KINDS)
    return next((kind for kind in kinds if kind), None)


def join_similar(proposal: Proposal, events: Look, others: list[Look]) -> None:
    """Files of the same columns are read together, where a pattern names just these."""
    similar = [other for other in others if _is_similar(other, events)]
    for each in similar:
        if kind_of(each) != kind_of(events):
            proposal.unused[each.name] = (
                "its name tells other events than that of the interactions: add its rows to them, "
                "with a column that tells the type of each"
            )
    similar = [each for each in similar if kind_of(each) == kind_of(events)]
    files = sorted(file for each in (events, *similar) for file in each.files)
    names = [events.name, *(each.name for each in similar)]
    pattern = f"{_common(names)}*{_common([name[::-1] for name in names])[::-1]}"
    if similar and sorted(proposal.folder.glob(pattern)) == files:
        events.name, events.files = pattern, files
        others[:] = [other for other in others if other not in similar]
        return
    for each in similar:
        proposal.unused[each.name] = "it has the columns of the interactions: add its rows to them"


def _common(names: list[str]) -> str:
    """What all begin with."""
    signs = takewhile(lambda several: len(set(several)) == 1, zip(*names, strict=False))
    return "".join(several[0] for several in signs)


def _is_similar(other: Look, events: Look) -> bool:
    """Whether files have the same columns; of those with names for them some may lack some."""
    if other.form.kind != events.form.kind:
        return False
    here, there = ([column.name for column in look.columns] for look in (other, events))
    are_named_alike = len({re.sub(r"\d+", "", look.name) for look in (other, events)}) == 1
    if other.form.header is False and other.form.shape == "rows":
        return here == there and are_named_alike
    shared = {*here} & {*there}
    return here == there or (
        are_named_alike and len(shared) > MOST_SHARED * max(len(here), len(there))
    )
