"""Which random effects one model has more than another, and what a likelihood ratio of the two is compared with.

Where a variance is zero it lies on the boundary of what it can be, and twice the log-likelihood ratio is no chi-square.
Known are: one more effect, uncorrelated with the others, half chi-square on 0 and half on 1 degree of freedom; one more
that is correlated with q others, half on q and half on q + 1 (Stram and Lee, Biometrics 50, 1994; Self and Liang,
Journal of the American Statistical Association 82, 1987); correlations alone, chi-square. Elsewhere the weights of the
mixture depend on the data.
"""

from __future__ import annotations

from dataclasses import dataclass

_BOOTSTRAP = (
    "no distribution is known for several more variances at once: compare with likelihood ratios of data simulated "
    "from the smaller model"
)


@dataclass(frozen=True)
class RandomPart:
    """The random effects of a model.

    Parameters
    ----------
    blocks : frozenset of (str, frozenset of str, str)
        Effects that may be correlated: grouping factor, effects, structure; a single effect is "us".
    singular : bool
        Whether the maximum lies on the boundary.
    """

    blocks: frozenset[tuple[str, frozenset[str], str]] = frozenset()
    singular: bool = False

    @classmethod
    def of(cls, terms: list[tuple[str, tuple[str, ...], str]], singular: bool) -> RandomPart:
        """The random part of terms (grouping factor, effects, structure); an uncorrelated effect is a block."""
        blocks = set()
        for group, effects, structure in terms:
            if structure == "diag" or len(effects) == 1:
                blocks |= {(group, frozenset([effect]), "us") for effect in effects}
            else:
                blocks.add((group, frozenset(effects), structure))
        return cls(frozenset(blocks), singular)


@dataclass(frozen=True)
class Extra:
    """What a larger model has more.

    Parameters
    ----------
    df : int
        Variances and correlations.
    boundary : bool
        Whether the reference is half chi-square on df - 1 and half on df degrees of freedom.
    unknown : str
        Why there is no reference; empty where there is one.
    """

    df: int
    boundary: bool = False
    unknown: str = ""


def extra_effects(inner: RandomPart, outer: RandomPart) -> Extra | None:
    """What `outer` has more; None where `inner` is not a special case of it."""
    lacking, more = inner.blocks - outer.blocks, outer.blocks - inner.blocks
    if not lacking and not more:
        return Extra(0)
    if inner.singular:
        return Extra(1, unknown="the smaller model lies on the boundary itself") if _nested(lacking, more) else None
    if not lacking and len(more) == 1 and len(_effects(more)) == 1:
        return Extra(1, boundary=True)
    if len(more) == 1:
        ((group, effects, structure),) = more
        d, within = len(effects), all(one[0] == group and one[1] <= effects for one in lacking)
        apart = within and structure == "us" and sum(len(one[1]) for one in lacking) == len(_effects(lacking))
        if apart and _effects(lacking) == _effects(more) and all(len(one[1]) == 1 for one in lacking):
            return Extra(d * (d - 1) // 2)
        if apart and len(lacking) == 1 and len(_effects(lacking)) == d - 1 and _is_us(lacking):
            return Extra(d, boundary=True)
    return Extra(len(_effects(more)), unknown=_BOOTSTRAP) if _nested(lacking, more) else None


def _effects(blocks: frozenset[tuple[str, frozenset[str], str]]) -> frozenset[tuple[str, str]]:
    return frozenset((group, effect) for group, effects, _ in blocks for effect in effects)


def _is_us(blocks: frozenset[tuple[str, frozenset[str], str]]) -> bool:
    return all(structure == "us" for _, _, structure in blocks)


def _nested(
    lacking: frozenset[tuple[str, frozenset[str], str]], more: frozenset[tuple[str, frozenset[str], str]]
) -> bool:
    """Whether every block that is not there lies within an unstructured one that is."""
    return all(
        any(group == other and effects <= larger and structure == "us" for other, larger, structure in more)
        for group, effects, _ in lacking
    )
