"""What is known of likelihood ratios between models with different random effects."""

from __future__ import annotations

import pytest

from clusterglm.inference.hypotheses.random_part import Extra, RandomPart, extra_effects


def part(*terms: str, singular: bool = False) -> RandomPart:
    """`us:a,b` and the like, of one grouping factor."""
    found = []
    for term in terms:
        structure, _, effects = term.partition(":")
        found.append(("id", tuple(effects.split(",")), structure))
    return RandomPart.of(found, singular)


NOTHING = RandomPart()


@pytest.mark.parametrize(
    ("inner", "outer", "df", "boundary"),
    [
        (part("us:1,x"), part("us:x,1"), 0, False),
        (NOTHING, part("us:1"), 1, True),
        (part("us:1"), part("diag:1,x"), 1, True),
        (part("us:1"), part("us:1", "us:x"), 1, True),
        (part("us:1"), part("us:1,x"), 2, True),
        (part("us:1,x"), part("us:1,x,z"), 3, True),
        (part("diag:1,x"), part("us:1,x"), 1, False),
        (part("us:1", "us:x"), part("us:1,x"), 1, False),
        (part("diag:1,x,z"), part("us:1,x,z"), 3, False),
    ],
)
def test_known(inner: RandomPart, outer: RandomPart, df: int, boundary: bool) -> None:
    assert extra_effects(inner, outer) == Extra(df, boundary)
    assert df == 0 or extra_effects(outer, inner) is None


@pytest.mark.parametrize(
    ("inner", "outer"),
    [
        (NOTHING, part("us:1,x")),
        (NOTHING, part("diag:1,x")),
        (part("us:1"), part("us:1,x,z")),
        (part("us:1", singular=True), part("us:1,x")),
        (part("us:1,x", "us:z"), part("us:1,x,z")),
        (NOTHING, part("homdiag:a,b,c")),
    ],
)
def test_not_known(inner: RandomPart, outer: RandomPart) -> None:
    found = extra_effects(inner, outer)
    assert found is not None
    assert found.unknown


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (part("us:1"), part("us:x")),
        (part("us:1,x"), part("us:1,z")),
        (part("homdiag:a,b"), part("cs:a,b")),
        (RandomPart.of([("a", ("1",), "us")], False), RandomPart.of([("b", ("1",), "us")], False)),
    ],
)
def test_neither_is_a_special_case(one: RandomPart, other: RandomPart) -> None:
    assert extra_effects(one, other) is None
    assert extra_effects(other, one) is None
