"""Values as what JSON can say, exactly, and back: numbers, arrays, dates, and objects of known classes.

A JSON object with the key "@" stands for something that JSON does not have; every other JSON value for itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from datetime import date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clusterglm.data.formulas.text import read, written
from clusterglm.data.formulas.tree import Binary, Call, Constant, Listed, Name, Unary
from clusterglm.errors import FileError, FormulaError, StorageError
from clusterglm.results.files.schema import conforms, hints_of

_ISO: dict[str, Any] = {"date": date, "datetime": datetime, "time": time}
_NODES = (Constant, Name, Unary, Binary, Call, Listed)
_DTYPE = re.compile(
    r"bool|u?int(8|16|32|64)|float(16|32|64)|longdouble|float(96|128)|object|[<>|=]?[biufUmM]\d{0,7}(\[\w{1,8}\])?|(datetime|timedelta)64(\[\w{1,8}\])?"
)
_DEEPEST = 60  # JSON inside each other; what is written needs 20


class Writer:
    """Turns values into plain ones; what occurs twice is written once.

    Parameters
    ----------
    modules : mapping of str to str
        The modules of the classes that may be written, by the classes' names.
    shared : int
        Number that the first value that occurs twice gets, less one.
    """

    def __init__(self, modules: Mapping[str, str], shared: int = 0) -> None:
        self._modules = modules
        self._seen: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._shared = shared

    def plain(self, value: Any, where: str = "result") -> Any:
        """The value as dicts with string keys, lists, strings, finite numbers, booleans and None.

        Raises
        ------
        StorageError
            On a value of an unknown class; it says where.
        """
        kind = type(value)
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if np.isfinite(value) else {"@": "float", "value": str(value)}
        if kind is list:
            return [self.plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
        if kind is tuple:
            return {"@": "tuple", "items": self.plain([*value], where)}
        if kind is dict:
            return self._dict(value, where)
        if id(value) in self._seen:
            return self._again(self._seen[id(value)][1])
        content = self._tagged(value, kind, where)
        self._seen[id(value)] = value, content  # the value too, so that no other gets its id
        return content

    def _again(self, first: dict[str, Any]) -> dict[str, Any]:
        if "@id" not in first:
            self._shared += 1
            first["@id"] = self._shared
        return {"@": "same", "as": first["@id"]}

    def _dict(self, value: dict[Any, Any], where: str) -> dict[str, Any]:
        if all(type(key) is str for key in value) and "@" not in value:
            return {key: self.plain(item, f"{where}.{key}") for key, item in value.items()}
        return {"@": "dict", "items": [self.plain([*item], where) for item in value.items()]}

    def _tagged(self, value: Any, kind: type, where: str) -> dict[str, Any]:
        name = kind.__name__
        if kind is np.ndarray:
            return self._array(value, where)
        if isinstance(value, np.generic):
            return {"@": "scalar", **self._array(np.asarray(value), where, "dtype", "values")}
        if self._modules.get(name) == kind.__module__:
            return {"@": name, **{key: self.plain(getattr(value, key), f"{where}.{key}") for key in _keys(kind, value)}}
        if _ISO.get(name) is kind or (kind.__module__.startswith("pandas") and name == "Timestamp"):
            return {"@": name, "value": value.isoformat()}
        if kind.__module__.startswith("pandas") and name == "Interval":
            return {"@": name, **{key: self.plain(getattr(value, key), where) for key in ("left", "right", "closed")}}
        if kind is Decimal:
            return {"@": name, "value": str(value)}
        if isinstance(value, _NODES):
            return {"@": "expression", "text": written(value)}
        if callable(value) and not isinstance(value, type):
            return {"@": "function"}
        raise StorageError(
            f"a {kind.__module__}.{name} in {where}, for which a file has no form",
            "numbers, strings, dates, arrays of them, and the package's own objects",
            "labels and levels as strings; or pickle the result",
        )

    def _array(self, value: NDArray[Any], where: str, *only: str) -> dict[str, Any]:
        content: dict[str, Any] = {"@": "array", "dtype": value.dtype.name if value.dtype.isnative else value.dtype.str}
        if value.dtype.kind == "U":
            content["dtype"] = value.dtype.str
        if value.strides == (0,) and len(value) > 0:
            content |= {"shape": [len(value)], "all": self._items(value[:1], where)[0]}  # one value for all
        else:
            content |= {"shape": [*value.shape], "values": self._items(value, where)}
        return {key: content[key] for key in only} if only else content

    def _items(self, value: NDArray[Any], where: str) -> Any:
        kind = value.dtype.kind
        if kind in "biuU":
            return value.tolist()
        if kind in "mM":
            return value.astype(np.int64).tolist()
        if kind == "f":
            items = value.tolist()
            return items if np.isfinite(value).all() else _in_words(items)
        if kind == "O" and value.ndim == 1:
            return self.plain(value.tolist(), where)
        raise StorageError(
            f"an array of type {value.dtype} in {where}", "numbers, strings or dates", "pickle the result"
        )


def _in_words(items: Any) -> Any:
    if isinstance(items, list):
        return [_in_words(item) for item in items]
    return items if np.isfinite(items) else str(items)


def _keys(kind: type, value: Any) -> Iterable[str]:
    """What a constructor takes."""
    if is_dataclass(kind):
        return [field.name for field in fields(kind) if field.init]
    return getattr(value, "_fields", ())


class Reader:
    """Turns what `Writer` made back into values; makes no other objects than those of the known classes.

    Parameters
    ----------
    modules : mapping of str to str
        As for `Writer`.
    source : str
        What is read, in words.
    most : int
        Elements that an array may have.
    functions : mapping of str to callable
        The user's own, where formulas call them.
    """

    def __init__(
        self,
        modules: Mapping[str, str],
        source: str,
        most: int,
        functions: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self._modules = modules
        self._source = source
        self._most = most
        self._functions = dict(functions or {})
        self._known: dict[int, Any] = {}
        self._depth = 0

    def value(self, plain: Any) -> Any:
        """The value.

        Raises
        ------
        FileError
            When it is of an unknown class, or not what `Writer` writes.
        """
        try:
            return self._value(plain)
        except FileError:
            raise
        except (
            KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError, StorageError,
            FormulaError, MemoryError,
        ) as problem:  # fmt: skip
            raise self._damaged(f"{type(problem).__name__}: {problem}") from problem

    def _damaged(self, what: str) -> FileError:
        return FileError(
            f"{self._source}, whose content does not fit: {what}",
            "a file as fit.save(path) wrote it",
            "the version of clusterglm that the file names; or fit and save again",
        )

    def _value(self, plain: Any) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._damaged(f"more than {_DEEPEST} values inside each other")
        try:
            return self._deeper(plain)
        finally:
            self._depth -= 1

    def _deeper(self, plain: Any) -> Any:
        if isinstance(plain, list):
            return [self._value(item) for item in plain]
        if not isinstance(plain, dict):
            return plain
        if "@" not in plain:
            return {key: self._value(item) for key, item in plain.items()}
        if plain["@"] == "same":
            return self._known[plain["as"]]
        value = self._untagged(plain["@"], {key: item for key, item in plain.items() if key not in ("@", "@id")})
        if "@id" in plain:
            self._known[plain["@id"]] = value
        return value

    def _untagged(self, tag: str, content: dict[str, Any]) -> Any:
        if tag in self._modules:
            return self._object(tag, {key: self._value(item) for key, item in content.items()})
        match tag:
            case "float":
                return float(_text(content["value"]))
            case "tuple":
                return tuple(_list(self._value(content["items"])))
            case "dict":
                return dict(_list(self._value(content["items"])))
            case "array":
                return self._array(content)
            case "scalar":
                return self._array({"shape": [], **content})[()]
            case "date" | "datetime" | "time":
                return _ISO[tag].fromisoformat(_text(content["value"]))
            case "Decimal":
                return Decimal(_text(content["value"]))
            case "expression":
                return read(_text(content["text"]), self._functions)
            case "function":
                return _WANTED
            case "Timestamp" | "Interval":
                return self._of_pandas(tag, content)
        raise self._damaged(f"{tag!r} is not known here")

    def _of_pandas(self, tag: str, content: dict[str, Any]) -> Any:
        import pandas as pd

        if tag == "Timestamp":
            return pd.Timestamp(_text(content["value"]))
        left, right = (self._value(content[side]) for side in ("left", "right"))
        return pd.Interval(left, right, closed=content["closed"])

    def _array(self, content: dict[str, Any]) -> NDArray[Any]:
        if not _DTYPE.fullmatch(_text(content["dtype"])):
            raise self._damaged(f"an array of type {content['dtype']!r}")
        dtype, shape, size = np.dtype(content["dtype"]), tuple(_list(content["shape"])), 1
        for length in shape:
            if type(length) is not int or length < 0:
                raise self._damaged(f"an array of shape {shape}")
            size *= length
        if size > self._most or size * dtype.itemsize > 100 * self._most:
            raise self._damaged(f"an array of shape {shape} in a file of {self._most:,} characters")
        if "all" in content:
            return np.broadcast_to(np.array(content["all"], dtype=dtype), shape)
        if dtype.kind == "O":
            array = np.empty(shape, dtype=object)
            array[:] = self._value(content["values"])
            return array
        if dtype.kind in "mM":
            return np.array(content["values"], dtype=np.int64).reshape(shape).view(dtype)
        # what is not finite is in words, which NumPy reads as float does
        return np.array(content["values"], dtype=dtype).reshape(shape)

    def _object(self, name: str, content: dict[str, Any]) -> Any:
        kind = getattr(import_module(self._modules[name]), name)
        keys = set(_keys(kind, kind))
        required = keys - {field.name for field in fields(kind) if _has_default(field)} if is_dataclass(kind) else keys
        if not required <= set(content) <= keys:
            odd = sorted((required - set(content)) | (set(content) - keys))
            raise self._damaged(f"{name} with or without {', '.join(odd)}")
        if name in ("Design", "RestDesign"):
            content["functions"] = self._own(content.get("functions", {}))
        hints = hints_of(kind)
        for key, value in content.items():
            if key in hints and not conforms(value, hints[key]):
                raise self._damaged(f"{key} of {name} is no {getattr(hints[key], '__name__', hints[key])}")
        return kind(**content)

    def _own(self, wanted: dict[str, Any]) -> dict[str, Any]:
        lacking = [name for name in wanted if name not in self._functions]
        if lacking:
            raise FileError(
                f"{self._source}, whose formula calls {', '.join(f'{name}()' for name in lacking)}",
                "the functions of your own that the fit was made with: a file holds none",
                f"cg.load(path, functions={{{lacking[0]!r}: ...}})",
            )
        return {name: self._functions[name] for name in wanted}


_WANTED = object()


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in place of text")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__} in place of a list")
    return value


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING
