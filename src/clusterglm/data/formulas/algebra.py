"""Which terms a right-hand side has: `+ - * / : ^ %in%` between factors.

Wilkinson and Rogers, Applied Statistics 22, 1973; Chambers and Hastie, Statistical Models in S, 1992, ch. 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from clusterglm.data.formulas.tree import EVERYTHING, Binary, Call, Constant, Name, Node, Unary, text_of
from clusterglm.errors import FormulaError

MOST_TERMS = 10_000
_STRUCTURES = ("us", "diag", "homdiag", "cs")
_WHOLE = "a formula such as 'y ~ x1 + x2'"


@dataclass(frozen=True)
class Term:
    """A product of factors; none of them is the intercept.

    Parameters
    ----------
    factors : tuple of Node
        Each once, in order of appearance.
    """

    factors: tuple[Node, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Texts of the factors."""
        return tuple(map(factor_text, self.factors))

    @property
    def name(self) -> str:
        """The term as it is shown: `x:trt`, or `1`."""
        return ":".join(self.texts) or "1"


def factor_text(node: Node) -> str:
    """A factor as names of columns show it: a column without backticks."""
    return node.name if isinstance(node, Name) else text_of(node)


_Key = frozenset[Node]
_Terms = dict[_Key, Term]
INTERCEPT = Term(())


@dataclass
class RightSide:
    """The parts of a right-hand side.

    Parameters
    ----------
    terms : list of Term
        Intercept first if there is one, then by number of factors, then in order of appearance.
    offsets : list of Node
        Arguments of `offset(...)`.
    random : list of Node
        What stands in `( | )`, structures such as `us( | )` included.
    """

    terms: list[Term] = field(default_factory=list)
    offsets: list[Node] = field(default_factory=list)
    random: list[Node] = field(default_factory=list)


def right_side(
    signed: Iterable[tuple[str, Node]], everything: Callable[[], Sequence[str]], *, absorb: bool = False
) -> RightSide:
    """Terms of a sum.

    Parameters
    ----------
    signed : iterable of (str, Node)
        "+" or "-", and what follows.
    everything : callable
        Gives the columns that `.` stands for.

    Raises
    ------
    FormulaError
        On a part that is no term, or too many terms.
    """
    found, offsets, random = RightSide(), [], []
    terms: _Terms = {frozenset(): INTERCEPT}
    for sign, node in signed:
        bare = node
        if isinstance(bare, Call) and bare.function == "offset":
            _refuse_minus(sign, node)
            if len(bare.arguments) != 1 or bare.keywords:
                raise FormulaError(f"{text_of(node)} in the formula", "one expression", "offset(log(n))")
            offsets.append(bare.arguments[0])
        elif is_random(bare):
            _refuse_minus(sign, node)
            random.append(bare)
        elif isinstance(bare, Constant) and bare.value in (0.0, 1.0) and not isinstance(bare.value, bool):
            keep = (bare.value == 1.0) == (sign == "+")
            terms.pop(frozenset(), None)
            if keep:
                terms = {frozenset(): INTERCEPT, **terms}
        else:
            some = _expand(node, everything)
            if sign == "+":
                for key, term in some.items():
                    terms.setdefault(key, term)
            else:
                terms = {key: term for key, term in terms.items() if key not in some}
            _refuse_many(terms)
    found.terms = sorted(terms.values(), key=lambda term: len(term.factors))
    found.offsets, found.random = offsets, random
    return found


def is_random(node: Node) -> bool:
    """Whether it is `a | b`, or `us(a | b)` and the like, or R's `strata(b)`."""
    if isinstance(node, Binary):
        return node.operator in ("|", "||")
    return isinstance(node, Call) and (
        node.function == "strata"
        or (
            node.function in _STRUCTURES
            and len(node.arguments) == 1
            and isinstance(node.arguments[0], Binary)
            and node.arguments[0].operator == "|"
        )
    )


def _expand(node: Node, everything: Callable[[], Sequence[str]]) -> _Terms:
    if isinstance(node, Binary):
        operator = node.operator
        if operator == "**":
            return _to_the_power(node, everything)
        if operator in ("+", "-", "*", "/", ":", "%in%"):
            left, right = _expand(node.left, everything), _expand(node.right, everything)
            return _combined(operator, left, right)
        if is_random(node):
            raise FormulaError(
                f"'|' in {text_of(node)!r}",
                "(1 | column), in brackets, as a term of its own",
                "(1 | id), or cluster='id'",
            )
        raise FormulaError(
            f"{text_of(node)!r} as a term",
            f"terms joined by + - * / : ^, {_WHOLE}",
            f"I({text_of(node)})",
        )
    if isinstance(node, Unary):
        if node.operator == "!":
            return _one(node)
        raise FormulaError(f"the sign of {text_of(node)!r}", _WHOLE, f"I({text_of(node)}) for the negative of a column")
    if node == EVERYTHING:
        columns = everything()
        if not columns:
            raise FormulaError("'.', for which no column is left", "columns besides the response", "y ~ 1")
        return {frozenset([name]): Term((name,)) for name in map(Name, columns)}
    if isinstance(node, Constant):
        if node.value == 1.0 and not isinstance(node.value, bool):
            return {frozenset(): INTERCEPT}
        number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
        raise FormulaError(
            f"{node.written} as a term: of values 0 and 1 alone are terms, for the intercept",
            _WHOLE,
            f"offset({node.written}), or drop it" if number else f"`{node.value}`, in backticks, for a column",
        )
    if not isinstance(node, Name | Call):
        raise FormulaError(f"{text_of(node)} as a term", _WHOLE, "x1 + x2 for several columns")
    return _one(node)


def _one(node: Node) -> _Terms:
    return {frozenset([node]): Term((node,))}


def _combined(operator: str, left: _Terms, right: _Terms) -> _Terms:
    if operator == "+":
        return _refuse_many({**left, **{key: term for key, term in right.items() if key not in left}})
    if operator == "-":
        return {key: term for key, term in left.items() if key not in right}
    if operator == "/":
        whole = _product(left.values())
        nested = _products([whole], [term for term in right.values() if term.factors])
        return _refuse_many({**left, **{key: term for key, term in nested.items() if key not in left}})
    crossed = _products(left.values(), right.values())
    if operator in (":", "%in%"):
        return crossed
    return _refuse_many({**left, **{k: t for part in (right, crossed) for k, t in part.items() if k not in left}})


def _products(left: Iterable[Term], right: Iterable[Term]) -> _Terms:
    first, second = list(left), list(right)
    if len(first) * len(second) > MOST_TERMS * 10:
        raise _too_many()
    found: _Terms = {}
    for a in first:
        for b in second:
            term = _product([a, b])
            found.setdefault(frozenset(term.factors), term)
    return _refuse_many(found)


def _product(terms: Iterable[Term]) -> Term:
    return Term(tuple(dict.fromkeys(factor for term in terms for factor in term.factors)))


def _to_the_power(node: Binary, everything: Callable[[], Sequence[str]]) -> _Terms:
    base, exponent = _expand(node.left, everything), node.right
    value = exponent.value if isinstance(exponent, Constant) else None
    if isinstance(value, bool) or not isinstance(value, float) or value < 1.0 or not value.is_integer():
        raise FormulaError(
            f"{text_of(node)!r} as a term",
            "a whole number as exponent: (a + b)^2 are a, b and a:b",
            f"I({text_of(node)})",
        )
    found = base
    for _ in range(int(min(value, 1e9)) - 1):
        more = _combined("+", found, _products(found.values(), base.values()))
        if len(more) == len(found):  # higher powers add nothing
            break
        found = more
    return found


def _refuse_many(terms: _Terms) -> _Terms:
    if len(terms) > MOST_TERMS:
        raise _too_many()
    return terms


def _too_many() -> FormulaError:
    return FormulaError(
        f"a formula of more than {MOST_TERMS:,} terms",
        f"at most {MOST_TERMS:,}",
        "fewer interactions, or fewer columns",
    )


def _refuse_minus(sign: str, node: Node) -> None:
    if sign == "-":
        shown = f"({text_of(node)})" if isinstance(node, Binary) else text_of(node)
        raise FormulaError(f"- {shown}", f"'+ {shown}'", "leave the term out, or add it")
