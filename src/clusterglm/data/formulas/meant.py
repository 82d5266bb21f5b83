"""Text that nobody means as categories: dates, and numbers among which one entry is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from clusterglm.errors import DesignError

_MANY_LEVELS = 20  # levels that nobody means as categories
_DATE = re.compile(r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([ T]\d{1,2}:\d{2}.*)?")
_NUMBER = re.compile(r"[-+]?(\d{1,3}([,.' ]\d{3})+|\d*)[.,]?\d+([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+")
_NOTHING = re.compile(r"[.?-]{1,2}|[<>].*|x|n[./]?[ad]\.?|nan|none|null|missing|unknown", re.IGNORECASE)
_SHARE_OF_LEVELS = 0.8  # of the levels, from which a column was meant as numbers
_SHOWN = 5


def refuse_what_was_meant_otherwise(levels: Sequence[Any], text: str) -> None:
    """Refuse a text covariate that was meant as dates or numbers: its levels would be categories, nearly one a row.

    Parameters
    ----------
    levels : sequence
    text : str
        The covariate, as errors call it.

    Raises
    ------
    DesignError
        It says how the column becomes numbers; `C(...)` takes it as it is.
    """
    if len(levels) <= _MANY_LEVELS or not all(isinstance(level, str) for level in levels):
        return
    shown = text if text.isidentifier() else f"`{text}`"
    otherwise = f"or C({shown}) for a level each"
    words = [level.strip() for level in levels]
    if all(map(_DATE.fullmatch, words)):
        raise DesignError(
            f"the covariate {text!r} of {len(levels)} texts that are dates, such as {levels[0]!r}",
            "numbers or categories",
            f"days since the start: pandas.to_datetime(data[{text!r}]{_written(words)}), less its least value, "
            f".dt.days; {otherwise}",
        )
    numbers = [word for word in words if _NUMBER.fullmatch(word)]
    odd = sorted({word for word in words if not _NUMBER.fullmatch(word)})
    fractions = any(re.search(r"\d[.,]\d", word) for word in numbers)
    nothing = bool(odd) and all(map(_NOTHING.fullmatch, odd))
    if len(numbers) >= _SHARE_OF_LEVELS * len(words) and (fractions or nothing):
        listed = ", ".join(map(repr, odd[:_SHOWN])) + (" and more" if len(odd) > _SHOWN else "")
        lost = ", errors='coerce'), which makes the others missing" if odd else ")"
        raise DesignError(
            f"the covariate {text!r} of {len(levels)} texts that are numbers{f' but for {listed}' if odd else ''}",
            "numbers or categories",
            f"pandas.to_numeric(data[{text!r}]{_without_commas(numbers)}{lost}; {otherwise}",
        )


def _written(dates: Sequence[str]) -> str:
    """How dates whose year comes last are written, which `to_datetime` must be told: 01.03. may be January or March."""
    parts = [re.split(r"[-/.]", re.split(r"[ T]", date)[0]) for date in dates]
    if any(len(each[0]) == 4 for each in parts):
        return ""
    mark, clock = re.findall(r"[-/.]", dates[0])[0], dates[0].count(":")
    year = ("%Y" if len(parts[0][2]) == 4 else "%y") + (" %H:%M" + ":%S" * (clock - 1) if clock else "")
    day_first, month_first = (repr(mark.join((*order, year))) for order in (("%d", "%m"), ("%m", "%d")))
    if any(int(each[1]) > 12 for each in parts):
        return f", format={month_first}"
    if mark == "." or any(int(each[0]) > 12 for each in parts):
        return f", format={day_first}"
    return f", format={day_first} or {month_first}, as they are meant"


def _without_commas(numbers: Sequence[str]) -> str:
    """What turns commas of numbers into what Python reads: thousands go, decimals become points."""
    commas = [each for each in numbers if "," in each]
    if not commas:
        return ""
    if any(each.rfind(".") > each.rfind(",") for each in commas) or all(map(_THOUSANDS.fullmatch, commas)):
        return ".str.replace(',', '')"
    return (".str.replace('.', '')" if any("." in each for each in commas) else "") + ".str.replace(',', '.')"
