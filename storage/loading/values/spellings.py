"""Times as programs and people spell them -> the spellings that patterns read.

Each rule is one pass over the cells that nothing else has read. What may be read in two ways
(CST is a zone of America and of China) has no rule.
"""

from __future__ import annotations

import polars as pl

LOOKED_AT = 500  # cells that tell which rules are needed
_MONTH = (
    r"(?i)\b(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
    r"(?:uary|ruary|ch|il|e|y|t|ust|tember|ober|ember)?\b\.?"
)
_RULES = (
    (r"[\u00a0\u2007\u2009\u200a\u202f]", " "),  # Chrome writes one before PM
    (r"^\[(.*)\]$", "$1"),  # in the logs of web servers
    (r"^\\?/Date\((\d+)(?:[+-]\d{4})?\)\\?/$", "$1"),  # ASP.NET
    (r"^(\d{5}),(\d+)$", "$1.$2"),  # a spreadsheet's days
    (r"([+-]\d\d:?\d\d|Z)\[[\w/+-]+\]$", "$1"),  # Java's ZonedDateTime
    (r"([+-]\d\d:?\d\d) [A-Z]{3,4}$", "$1"),  # Go
    (r"(?:GMT|UTC)([+-]\d\d:?\d\d)(?: \([^()]*\))?$", "$1"),  # JavaScript's Date
    (r"^(\d{4}) ?[年년] ?(\d\d?) ?[月월] ?(\d\d?) ?[日일]", "$1-$2-$3 "),
    (r"^(\d{4})\. (\d\d?)\. (\d\d?)\.", "$1-$2-$3"),
    (_MONTH, "$1"),
    (r"(?i)\b(\d\d?)(?:st|nd|rd|th)\b", "$1"),
    (r"^(\d\d?)\. ([A-Za-z])", "$1 $2"),  # 30. September
    (r"^(\d\d?)([A-Za-z]{3})(\d{4}|\d\d)(?:[:T ]|$)", "$1-$2-$3 "),  # SAS: 30SEP2026:14:13
    (r"(\d),? at (\d)", "$1 $2"),
    (r"(\d), ?(\d\d?[:.hH]\d\d)", "$1 $2"),  # toLocaleString of JavaScript
    (r"(\d)T(\d\d:)", "$1 $2"),
    (r"(?i)(\d) ?([ap])\.? ?m\.?$", "$1 ${2}M"),
    (r" (\d\d?) ([AaPp]M)$", " $1:00 $2"),
    (r"(\d) ?h ?(\d\d)$", "$1:$2"),  # 14h13
    (r"^(.{5,}\d) (\d\d?)\.(\d\d)\.(\d\d)", "$1 $2:$3:$4"),  # Oracle, Italy, Finland: 14.13.20
    (r"^(.{5,}\d) (\d\d?)\.(\d\d)( [AaPp]M$|$)", "$1 $2:$3$4"),
    (r"(:\d\d),(\d{1,9})\b", "$1.$2"),  # logging of Python
    (r"(\d)Z$", "$1 +0000"),
    (r"^(\d{4})[-/](\d\d)$", "$1-$2-01"),
    (r"^([A-Za-z]{3}),? (\d{4})$", "1 $1 $2"),
    (r"^(\d{4})-?W(\d\d)$", "$1-W$2-1"),
)
ZONES = {
    "UTC": "+0000", "GMT": "+0000", "WET": "+0000", "WEST": "+0100", "CET": "+0100",
    "CEST": "+0200", "MEZ": "+0100", "MESZ": "+0200", "EET": "+0200", "EEST": "+0300",
    "MSK": "+0300", "JST": "+0900", "KST": "+0900", "AEST": "+1000", "AEDT": "+1100",
    "NZST": "+1200", "NZDT": "+1300", "EST": "-0500", "EDT": "-0400", "MDT": "-0600",
    "PST": "-0800", "PDT": "-0700", "AKST": "-0900", "AKDT": "-0800", "HST": "-1000",
}  # fmt: skip
"""Names of zones that one offset alone has."""
ZONE = r"(?:\d|[AaPp][Mm]) ?([A-Z]{3,4})(?: \d{4})?$"
"""The name of a zone at the end of a time, or before its year."""


def respelled(text: pl.Series) -> pl.Series:
    """The cells as the rules write them; those that none fits stay as they are.

    A rule that fits no cell of a sample is not tried on the others.
    """
    text = text.str.strip_chars()
    sample = text.gather_every(max(1, len(text) // LOOKED_AT))
    for pattern, usual in _RULES:
        if sample.str.contains(pattern).any():
            sample = sample.str.replace(pattern, usual)
            text = text.str.replace(pattern, usual)
    if text.str.contains(ZONE).any():
        names = [f" {name}" for name in ZONES]
        text = text.str.replace_many(names, [f" {offset}" for offset in ZONES.values()])
    return text
