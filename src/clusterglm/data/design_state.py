"""What formulaic has learned from the fitted data, as plain values, and formulaic's specification again from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clusterglm.errors import StorageError

if TYPE_CHECKING:
    from formulaic import ModelSpec

_FIXED = {"materializer": "pandas", "materializer_params": {}, "ensure_full_rank": True, "output": "numpy"}
_ADVICE = "compute the term as a column of the data first, and fit with that column"


def spec_state(spec: ModelSpec) -> dict[str, Any]:
    """The state of a specification, of which design matrices are a function.

    Parameters
    ----------
    spec : formulaic.ModelSpec
        Of a design that was built.

    Returns
    -------
    dict
        `terms`: factors of each term, each its expression and how it is evaluated; `structure`: what columns each term
        makes, and which of its factors are coded next to an intercept; `transforms`: knots, centres and the like;
        `encodings`: kind and levels of each factor. Of dicts, lists, strings, numbers and arrays.

    Raises
    ------
    StorageError
        When the specification was made with other settings than this package's.
    """
    for name, value in _FIXED.items():
        if getattr(spec, name) != value:
            raise StorageError(
                f"a design made by formulaic with {name}={getattr(spec, name)!r}", f"{name}={value!r}", _ADVICE
            )
    return {
        "terms": [_term(term) for term in spec.formula],
        "structure": [
            {
                "term": _term(part.term),
                "scoped": [
                    {
                        "factors": [[scoped.factor.expr, scoped.reduced] for scoped in each.factors],
                        "scale": each.scale,
                    }
                    for each in part.scoped_terms
                ],
                "columns": list(part.columns),
            }
            for part in spec.structure or ()
        ],
        "transforms": spec.transform_state,
        "encodings": {
            # formulaic keeps contrasts to look at; it takes them from the expression
            name: [kind.value, {key: value for key, value in state.items() if key != "contrasts"}]
            for name, (kind, state) in spec.encoder_state.items()
        },
    }


def spec_from_state(state: dict[str, Any]) -> ModelSpec:
    """The specification of which `spec_state` gave the state; nothing in it is evaluated."""
    from formulaic import ModelSpec, SimpleFormula
    from formulaic.materializers.base import EncodedTermStructure
    from formulaic.materializers.types import EvaluatedFactor, NAAction, ScopedFactor, ScopedTerm
    from formulaic.parser.types import Factor, Term

    def term(factors: list[list[str]]) -> Any:
        return Term([Factor(expr, eval_method=method) for expr, method in factors])

    def scoped(part: dict[str, Any], each: dict[str, Any]) -> Any:
        methods = dict(part["term"])
        factors = [
            ScopedFactor(EvaluatedFactor(Factor(expr, eval_method=methods[expr]), values=None), reduced)
            for expr, reduced in each["factors"]
        ]
        return ScopedTerm(factors, scale=each["scale"])

    return ModelSpec(
        formula=SimpleFormula([term(factors) for factors in state["terms"]], _ordering="none"),
        na_action=NAAction.IGNORE,
        structure=[
            EncodedTermStructure(
                term(part["term"]), [scoped(part, each) for each in part["scoped"]], list(part["columns"])
            )
            for part in state["structure"]
        ],
        transform_state=state["transforms"],
        encoder_state={name: (Factor.Kind(kind), known) for name, (kind, known) in state["encodings"].items()},
        **_FIXED,
    )


def _term(term: Any) -> list[list[str]]:
    return [[factor.expr, factor.eval_method.value] for factor in term.factors]
