"""Any exception -> one line for people: what is wrong, and how to mend it."""

from __future__ import annotations

import errno
from dataclasses import dataclass

OUR_PACKAGES = ("benchmarks", "data_checks", "feedwright", "feedwright_client",
                "going_live", "models", "orchestration", "serving", "storage")  # fmt: skip


class FeedwrightError(RuntimeError):
    """A failure of the command line itself; ``fix`` says what to do."""

    def __init__(self, cause: str, fix: str = "") -> None:
        super().__init__(cause)
        self.fix = fix


@dataclass(frozen=True)
class Problem:
    """What is shown to people."""

    cause: str
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.cause} {self.fix}".strip()


def is_failure(error: BaseException) -> bool:
    """Whether it is to be reported: no exit, interrupt or error of usage."""
    # a panic of a library's Rust code is no Exception
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return False
    return type(error).__module__.partition(".")[0] not in ("typer", "click")


def explain(error: BaseException) -> Problem:
    """What to tell people about ``error``.

    An exception class of our own carries its whole message, cause and fix. Of other
    libraries' exceptions we know those that bad settings or a bad machine bring about.
    """
    if isinstance(error, FeedwrightError):
        return Problem(str(error), error.fix)
    module = type(error).__module__.partition(".")[0]
    if module in OUR_PACKAGES:
        return Problem(" ".join(str(error).split()))
    # known by name: importing the libraries only to compare classes would take a second
    name = type(error).__name__
    if module in ("pydantic", "pydantic_core") and name == "ValidationError":
        return _settings(error)
    if module == "pydantic_settings":
        return Problem(f"The settings cannot be read: {error}.", "Correct .env or the variable.")
    if module == "psycopg":
        return Problem(
            f"The database failed: {' '.join(str(error).split())}.",
            "See `feedwright status`; `feedwright doctor` checks the machine.",
        )
    if isinstance(error, OSError):
        return _operating_system(error)
    return Problem(
        f"Unexpected {name}: {' '.join(str(error).split()) or 'no message'}.",
        "`feedwright --debug …` shows where it happened.",
    )


def _settings(error: BaseException) -> Problem:
    """Pydantic's list of problems, each by the name of its environment variable."""
    problems = error.errors()  # type: ignore[attr-defined]
    listed = "; ".join(
        f"{variable(problem['loc'])}={problem.get('input')!r}: {problem['msg']}"
        for problem in problems
    )
    return Problem(f"A setting is wrong: {listed}.", "Correct it in the environment or in .env.")


def variable(location: tuple[object, ...]) -> str:
    """Environment variable of a field of the settings."""
    return "FEEDWRIGHT_" + "_".join(map(str, location)).upper()


def _operating_system(error: OSError) -> Problem:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Problem(
            f"The disk is full{where}.",
            "Free some space, or move the state: FEEDWRIGHT_HOME=/another/disk/feedwright.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Problem(
            f"No right to write or read{where}: {error.strerror}.",
            "Give this user the right, or set FEEDWRIGHT_HOME to a folder of your own.",
        )
    if error.errno == errno.ENOENT:
        return Problem(f"No such file or folder{where}.", "Check the path.")
    return Problem(f"{error.strerror or error}{where}.", "`feedwright doctor` checks the machine.")
