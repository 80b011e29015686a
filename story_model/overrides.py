"""Values set in a configuration tree by their dotted names, and what is said where a name or a value is wrong."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from story_model.section import Section


def apply_overrides(tree: dict[str, Any], overrides: Iterable[str]) -> None:
    """Set `section.key=value` in a tree; values are YAML.

    Raises:
        ValueError: one is not written so, or leads through a value.
    """
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator:
            raise ValueError(f"override {override!r} has no '='; write section.key=value")
        *parents, leaf = key.strip().split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"override {override!r}: {parent!r} is a value, not a section")
        try:
            node[leaf] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ValueError(
                f"override {override!r}: the value is no YAML; quote what it holds, such as 'key={{a: \"b\"}}'"
            ) from None


def explain(error: ValidationError, root: type[Section]) -> str:
    """Say in one line what a configuration lacks or has too much of, with the nearest right names."""
    return "; ".join(_explain_one(item["type"], item["loc"], item["msg"], root) for item in error.errors())


def suggest(name: str, known: Sequence[str]) -> str:
    """Name what was probably meant, else all that there is."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"


def _explain_one(kind: str, location: Sequence[int | str], message: str, root: type[Section]) -> str:
    dotted = ".".join(str(part) for part in location)
    if kind != "extra_forbidden":
        return f"config {dotted}: {message}"
    section: Any = root
    for part in location[:-1]:
        section = _section_of(section.model_fields[part].annotation)
    return f"config has no key {dotted!r}; {suggest(str(location[-1]), list(section.model_fields))}"


def _section_of(annotation: Any) -> Any:  # noqa: ANN401 - a type
    """Give the section that a field holds, be it optional."""
    return next((part for part in get_args(annotation) if part is not type(None)), annotation)
