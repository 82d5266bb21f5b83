"""A user's formula taken apart: response, terms, offsets, clusters, means of clusters; all names checked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from clusterglm.data.formulas.algebra import Term, is_random, right_side
from clusterglm.data.formulas.check import CLUSTERS, check_expression, has_memory, known_functions, variables_of
from clusterglm.data.formulas.parse import Parser
from clusterglm.data.formulas.random import RandomTerm, random_terms
from clusterglm.data.formulas.tokens import Token, depth_after, shortened, tokens_of
from clusterglm.data.formulas.tree import Binary, Call, Listed, Name, Node, Unary, children, text_of
from clusterglm.errors import FormulaError

_WHOLE = "a formula such as 'y ~ x1 + x2'"
_SINGLE = "what each row gives by itself"


@dataclass(frozen=True)
class Expression:
    """An expression of columns.

    Parameters
    ----------
    text : str
        As it is shown.
    node : Node
    variables : tuple of str
        Columns that are used.
    """

    text: str
    node: Node
    variables: tuple[str, ...]

    @property
    def is_column(self) -> bool:
        """Whether the expression is a bare column."""
        return isinstance(self.node, Name)


class ClusterTerm(NamedTuple):
    """`within(...)` or `between(...)`: an expression less the mean of its cluster, or that mean; `name` as written."""

    name: str
    kind: str
    expression: Expression


@dataclass(frozen=True)
class ParsedFormula:
    """The parts of a formula.

    Parameters
    ----------
    text : str
        The whole formula.
    response : tuple of Expression
        One, or two from `cbind(successes, failures)`; of `Surv`, the time, and the event where it is given.
    response_name : str
        The left-hand side in the canonical form.
    right : str
        The right-hand side without offsets and random terms.
    terms : tuple of Term
        Of `right`: the intercept first, then by number of factors.
    offsets : tuple of Expression
        Arguments of the `offset(...)` terms.
    cluster : str or None
        Column in `( | column)` or `strata(column)`, or columns with colons in between; None with several grouping
        factors, which are `groupings`.
    variables : tuple of str
        Columns that the terms use, in order of appearance.
    cluster_terms : tuple of ClusterTerm
        `within(...)` and `between(...)`, which stand in `terms` as columns of those names.
    functions : dict of str to callable
        The user's own.
    strata : bool
        Whether clusters are given by `strata(column)`, as in R's `clogit`: where clusters have levels of their own.
    random : tuple of RandomTerm
        What varies over clusters, as the formula says it.
    random_variables : tuple of str
        Columns that their effects use.
    survival : bool
        Whether the response is `Surv(time)` or `Surv(time, event)`.
    """

    text: str
    response: tuple[Expression, ...]
    response_name: str
    right: str
    terms: tuple[Term, ...]
    offsets: tuple[Expression, ...]
    cluster: str | None
    variables: tuple[str, ...]
    cluster_terms: tuple[ClusterTerm, ...] = ()
    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    strata: bool = False
    random: tuple[RandomTerm, ...] = ()
    random_variables: tuple[str, ...] = ()
    survival: bool = False

    @property
    def varies(self) -> bool:
        """Whether more varies over clusters than an intercept."""
        return len(self.groupings) > 1 or any(not term.is_intercept for term in self.random)

    @property
    def groupings(self) -> tuple[str, ...]:
        """The grouping factors of the random terms, each by the name that it has first."""
        return tuple(dict.fromkeys(map(self.factor_of, self.random)))

    def factor_of(self, term: RandomTerm) -> str:
        """The name of a random term's grouping factor among `groupings`: `a:b` is `b:a`."""
        return next(each.factor for each in self.random if frozenset(each.group) == frozenset(term.group))

    @property
    def has_intercept(self) -> bool:
        """Whether there is a column of ones."""
        return any(not term.factors for term in self.terms)

    @property
    def factors(self) -> tuple[Node, ...]:
        """Factors of all terms, each once."""
        return tuple(dict.fromkeys(factor for term in self.terms for factor in term.factors))

    @property
    def random_factors(self) -> tuple[Node, ...]:
        """Factors of what varies over clusters, each once."""
        return tuple(dict.fromkeys(f for part in self.random for term in part.terms for f in term.factors))

    @property
    def has_memory(self) -> bool:
        """Whether a term takes a whole column."""
        nodes = *self.factors, *self.random_factors, *(term.expression.node for term in self.cluster_terms)
        return any(map(has_memory, nodes))


def parse_formula(
    formula: str,
    columns: Sequence[str],
    functions: Mapping[str, Callable[..., Any]] | None = None,
    taken: Collection[str] = (),
) -> ParsedFormula:
    """Take a formula apart and check every name in it against the columns of the data.

    Parameters
    ----------
    formula : str
        `y ~ x`, `cbind(successes, failures) ~ x + offset(log(n)) + (1 | id)`, and so on.
    columns : sequence of str
        Names of the user's columns.
    functions : mapping of str to callable, optional
        The user's own functions.
    taken : collection of str
        Columns that `.` does not stand for, besides those of the response, offsets and clusters in the formula.

    Raises
    ------
    FormulaError
        It names the part of the formula that cannot be read, the unknown column (with the nearest name), or the
        unknown function.
    """
    if not isinstance(formula, str):
        raise FormulaError(f"a formula of type {type(formula).__name__}", f"a string: {_WHOLE}", "put it in quotes")
    own = check_functions(functions)
    columns = [name for name in columns if isinstance(name, str)]
    known, names = set(columns), known_functions(own)
    tokens = tokens_of(formula, known)
    left, right = _sides(tokens, formula)
    answer = Parser(left, known, names, formula).whole()
    response = _response(answer, columns, own)
    of_response = {name for part in response for name in part.variables}
    signed = []
    for sign, some in signed_terms(right, formula):
        node = Parser(some, known, names, formula).whole()
        if isinstance(node, Binary) and node.operator in ("|", "||") and not _is_bracketed(some):
            raise FormulaError(
                f"'|' in {text_of(node)!r}",
                "(1 | column), in brackets, as a term of its own",
                "(1 | id), or cluster='id'",
            )
        signed.append((sign or "+", node))
    made: dict[str, ClusterTerm] = {}
    signed = [(sign, _without_means(node, columns, own, made)) for sign, node in signed]
    elsewhere = _taken_in(signed, columns)

    def everything() -> list[str]:
        return [name for name in columns if name not in of_response and name not in taken and name not in elsewhere]

    found = right_side(signed, everything)
    factors = tuple(dict.fromkeys(factor for term in found.terms for factor in term.factors))
    both = [*columns, *made]
    for node in factors:
        check_expression(node, both, own)
    needed = set(variables_of(factors, both))
    named = [Name(name) for name in variables_of([node for _, node in signed], both) if name in needed]
    variables = _columns_of((*named, *factors), made, both)  # in the order of the formula
    strata = [node for node in found.random if isinstance(node, Call) and node.function == "strata"]
    random = random_terms([node for node in found.random if node not in strata], both, own)
    if len(response) == 1 and response[0].is_column and response[0].variables[0] in variables:
        name = response[0].variables[0]
        raise FormulaError(f"{name!r} on both sides of '~'", "covariates other than the response", f"drop {name!r}")
    return ParsedFormula(
        text=formula,
        response=response,
        response_name=_response_name(response, answer),
        right=right_text(found.terms),
        terms=tuple(found.terms),
        offsets=tuple(_expression(node, columns, own, "an offset") for node in found.offsets),
        cluster=_cluster(strata, random, columns),
        variables=variables,
        cluster_terms=tuple(made.values()),
        functions=own,
        strata=bool(strata),
        random=random,
        random_variables=_columns_of((f for part in random for term in part.terms for f in term.factors), made, both),
        survival=_is_survival(answer),
    )


def _columns_of(nodes: Iterable[Node], made: Mapping[str, ClusterTerm], names: Collection[str]) -> tuple[str, ...]:
    """Columns of the data that expressions use, those of their means of clusters included."""
    found: dict[str, None] = {}
    for name in variables_of(nodes, names):
        found |= dict.fromkeys(made[name].expression.variables if name in made else (name,))
    return tuple(found)


def updated_formula(old: str, change: str) -> str:
    """A formula in which `.` stands for a side of another one, or the terms that are joined to it: R's `update`.

    Raises
    ------
    FormulaError
        Where `.` is no term of its own, or is taken away.
    """
    if not isinstance(change, str):
        raise FormulaError(f"a formula of type {type(change).__name__}", "a string", '"~ . - x"')
    tokens = tokens_of(change, ())
    at = next((k for k, token in enumerate(tokens) if token.is_("~")), None)
    if at is None or at + 1 == len(tokens):
        raise FormulaError(f"the change {shortened(change)}", 'a formula such as "~ . - x"', '"~ . + z"')
    old_left, _, old_right = old.partition("~")
    left = change[: tokens[at].start].strip()
    parts: list[str] = []
    for sign, some in signed_terms(tokens[at + 1 :], change):
        text = change[some[0].start : some[-1].start + len(some[-1].text)]
        if any(token.is_(".") for token in some):
            if text != "." or sign == "-":
                raise FormulaError(f"{sign} {text} in the change {shortened(change)}", "'.' as a term", '"~ . - x"')
            text = old_right.strip()
        parts.append(f"{sign or '+'} {text}" if parts or sign == "-" else text)
    return f"{old_left.strip() if left in ('', '.') else left} ~ {' '.join(parts)}"


def parse_expression(
    text: str, columns: Sequence[str], functions: Mapping[str, Callable[..., Any]], what: str
) -> Expression:
    """An expression by itself, such as weights="n / 2", each row of which gives its value alone.

    Raises
    ------
    FormulaError
        As `parse_formula`; `what` says where it stands.
    """
    known = {name for name in columns if isinstance(name, str)}
    tokens = tokens_of(text, known)
    if not tokens:
        raise FormulaError(f"{what} of nothing", "an expression of columns", "log(n)")
    node = Parser(tokens, known, known_functions(functions), text).whole()
    return _expression(node, [*known], functions, what)


def check_functions(functions: Mapping[str, Callable[..., Any]] | None) -> dict[str, Callable[..., Any]]:
    """The user's functions, if they can stand in a formula.

    Raises
    ------
    FormulaError
        On names that no formula could call, or that the package has itself, and on what cannot be called.
    """
    if functions is None:
        return {}
    if not isinstance(functions, Mapping):
        raise FormulaError(f"functions= of type {type(functions).__name__}", "a dict of names", "functions={'f': f}")
    for name, function in functions.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise FormulaError(f"functions= with the name {name!r}", "a plain word", "functions={'f': f}")
        if name in known_functions() or name in ("offset", "cbind", "Surv"):
            raise FormulaError(f"functions= with {name!r}, which formulas have already", "another name", f"my_{name}")
        if not callable(function):
            raise FormulaError(f"functions={{{name!r}: ...}} of type {type(function).__name__}", "a function", "def")
    return dict(functions)


def right_text(terms: Sequence[Term]) -> str:
    """A right-hand side in words that mean the same terms."""
    bare = [
        " : ".join(text_of(factor) for factor in term.factors).replace(" : ", ":") for term in terms if term.factors
    ]
    if not terms or terms[0].factors:
        return " + ".join(["0", *bare])
    return " + ".join(bare) or "1"


def _sides(tokens: list[Token], formula: str) -> tuple[list[Token], list[Token]]:
    tildes = [i for i, token in enumerate(tokens) if token.is_("~")]
    if len(tildes) != 1:
        found = "no '~'" if not tildes else f"{len(tildes)} times '~'"
        raise FormulaError(
            f"{found} in the formula {shortened(formula)}", _WHOLE, "'response ~ covariates'; ! for the opposite"
        )
    left, right = tokens[: tildes[0]], tokens[tildes[0] + 1 :]
    if not left or not right:
        side = "left (the response)" if not left else "right (the covariates)"
        raise FormulaError(f"nothing on the {side} of '~' in {shortened(formula)}", _WHOLE, "'y ~ 1' for an intercept")
    return left, right


def signed_terms(tokens: list[Token], formula: str) -> list[tuple[str, list[Token]]]:
    """The right-hand side cut at its outermost + and -: (sign, tokens); the sign of a first term may be empty."""
    terms: list[tuple[str, list[Token]]] = [("", [])]
    depth = 0
    for token in tokens:
        depth += depth_after(token)
        if depth == 0 and token.is_("+", "-") and not (terms[-1][1] and terms[-1][1][-1].is_("^", "**", "*", "/", ":")):
            if not terms[-1][1]:
                if terms[-1][0] and (terms[-1][0], token.text) != ("+", "-"):  # R knows x + -1
                    raise FormulaError(
                        f"{terms[-1][0]!r} followed by {token.text!r} in {shortened(formula)}",
                        _WHOLE,
                        f"drop a {token.text!r}",
                    )
                terms.pop()
            terms.append((token.text, []))
        else:
            terms[-1][1].append(token)
    if not terms[-1][1]:
        raise FormulaError(f"{shortened(formula)} ends with {terms[-1][0]!r}", _WHOLE, "add a term, or drop the sign")
    return terms


def _is_bracketed(tokens: Sequence[Token]) -> bool:
    """Whether the tokens are `( ... )`, the first bracket closing with the last token."""
    depth = 0
    for i, token in enumerate(tokens):
        depth += depth_after(token)
        if depth == 0:
            return i == len(tokens) - 1 and token.is_(")")
    return False


def _response(node: Node, columns: Sequence[str], own: Mapping[str, Any]) -> tuple[Expression, ...]:
    parts: tuple[Node, ...] = (node,)
    if isinstance(node, Call) and node.function == "cbind":
        parts = node.arguments
        if len(parts) != 2 or node.keywords:
            raise FormulaError(text_of(node), "cbind(successes, failures)", "cbind(s, n - s) from successes and trials")
    if _is_survival(node):
        parts = _time_and_event(node)
    return tuple(_expression(part, columns, own, "the response") for part in parts)


def _is_survival(node: Node) -> bool:
    return isinstance(node, Call) and node.function == "Surv"


def _time_and_event(node: Node) -> tuple[Node, ...]:
    """The parts of `Surv(time)` or `Surv(time, event)`.

    Raises
    ------
    FormulaError
        On anything else that R's `Surv` takes: entries after time 0, intervals, other kinds of censoring.
    """
    assert isinstance(node, Call)
    found = dict(node.keywords)
    others = [name for name in ("time", "event") if name not in found]
    found |= dict(zip(others, node.arguments, strict=False))
    whole = len(found) == len(node.arguments) + len(node.keywords)
    if not whole or "time" not in found or found.keys() - {"time", "event"}:
        late = len(node.arguments) == 3 and not node.keywords
        raise FormulaError(
            f"{text_of(node)}{', with a start of the time at risk' if late else ''}",
            "Surv(time, event), or Surv(time) where every time is an event: times at risk begin at 0",
            "a row for each interval, with the event as a 0/1 response and link='cloglog', or as a count with "
            "family='poisson' and exposure=",
        )
    return tuple(found[name] for name in ("time", "event") if name in found)


def _response_name(response: tuple[Expression, ...], node: Node) -> str:
    if _is_survival(node):
        return f"Surv({', '.join(part.text for part in response)})"
    shown = [part.node.name if len(response) == 1 and isinstance(part.node, Name) else part.text for part in response]
    return shown[0] if len(shown) == 1 else f"cbind({', '.join(shown)})"


def _expression(node: Node, columns: Sequence[str], own: Mapping[str, Any], where: str) -> Expression:
    check_expression(node, columns, own, whole_columns=where)
    return Expression(text_of(node), node, variables_of([node], columns))


def _without_means(node: Node, columns: Sequence[str], own: Mapping[str, Any], made: dict[str, ClusterTerm]) -> Node:
    """The node with a column of that name for each `within(...)` and `between(...)`."""
    if isinstance(node, Call) and node.function in CLUSTERS:
        name = text_of(node).replace("`", "")
        if name in columns:
            raise FormulaError(f"{name}, also a column of the data", "one meaning", "rename the column")
        if len(node.arguments) != 1 or node.keywords:
            raise FormulaError(f"{text_of(node)} in the formula", "one expression of columns", "within(x)")
        inner = node.arguments[0]
        check_expression(inner, columns, own)
        made[name] = ClusterTerm(name, node.function, Expression(text_of(inner), inner, variables_of([inner], columns)))
        return Name(name)
    if not children(node):
        return node

    def inside(child: Node) -> Node:
        return _without_means(child, columns, own, made)

    if isinstance(node, Unary):
        return Unary(node.operator, inside(node.operand))
    if isinstance(node, Binary):
        return Binary(node.operator, inside(node.left), inside(node.right))
    if isinstance(node, Call):
        named = tuple((key, inside(value)) for key, value in node.keywords)
        return Call(node.function, tuple(map(inside, node.arguments)), named)
    assert isinstance(node, Listed)
    return Listed(node.opening, tuple(map(inside, node.items)))


def _taken_in(signed: Sequence[tuple[str, Node]], columns: Sequence[str]) -> set[str]:
    """Columns of offsets and random terms, which `.` does not stand for."""
    special = [n for _, n in signed if is_random(n) or (isinstance(n, Call) and n.function == "offset")]
    return set(variables_of(special, columns))


def _cluster(strata: Sequence[Call], random: Sequence[RandomTerm], columns: Sequence[str]) -> str | None:
    """The column, or the columns with colons between them, whose values are the clusters."""
    shown = [text_of(node) for node in strata] + [f"({term.text})" for term in random]
    factors = list(dict.fromkeys(frozenset(term.group) for term in random))
    if strata and len(strata) + len(factors) > 1:
        raise FormulaError(
            f"clusters of {len(strata) + len(factors)} kinds: {', '.join(dict.fromkeys(shown))}",
            "one grouping factor: clusters nested or crossed within others are not available",
            f"keep {shown[0]}",
        )
    for node in strata:
        if len(node.arguments) != 1 or not isinstance(node.arguments[0], Name) or node.keywords:
            raise FormulaError(
                f"{text_of(node)} in the formula",
                "strata(column), of one column",
                "cluster=['a', 'b'], for sets that are combinations of columns",
            )
        check_expression(node.arguments[0], columns, {})
        return node.arguments[0].name
    return random[0].factor if len(factors) == 1 else None
