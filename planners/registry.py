"""Planners by name: what a campaign's `planner:` line stands for."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from twinloop.errors import ArgumentError, ConfigProblem
from twinloop.planners.interface import Planner
from twinloop.plugins import find_class, installed

__all__ = ["find_planner", "installed_planners", "options_of", "planner_problems", "resolve"]


def installed_planners() -> tuple[str, ...]:
    """Return the names that installed packages offer, sorted."""
    return tuple(installed("planners"))


def find_planner(name: str) -> type[Planner]:
    """Return the planner called `name`, or the class at "module:Name".

    Raises:
        ArgumentError: no planner of that name; it lists what there is.

    Example:
        >>> find_planner("sobol").name
        'sobol'
    """
    return find_class("planners", name, Planner, key="planner.name")  # type: ignore[type-abstract]


def options_of(planner: type[Planner]) -> dict[str, FieldInfo]:
    """Return the fields that a campaign may set."""
    return {name: f for name, f in planner.model_fields.items() if not f.exclude}


def resolve(config: Mapping[str, Any] | str) -> Planner:
    """Return the planner of a configuration, its options checked.

    Args:
        config: `{"name": "plain_bo", "n_initial": 8}`, or the name alone.

    Raises:
        ArgumentError: no such planner, no such option, or a value that is not allowed; of several
            mistakes the first (`planner_problems` gives all).

    Example:
        >>> resolve({"name": "sobol"})
        SobolPlanner(n_initial=0)
    """
    planner, mistakes = _examine(config)
    if mistakes:
        raise ArgumentError(*mistakes[0])
    return planner.model_validate(_options(config))


def planner_problems(
    config: Mapping[str, Any] | str, *, file: str, key: str = "planner"
) -> tuple[ConfigProblem, ...]:
    """Return everything that is wrong with a configuration; empty when `resolve` takes it."""
    try:
        _, mistakes = _examine(config)
    except ArgumentError as err:
        mistakes = [(err.name, err.found, err.allowed)]
    return tuple(
        ConfigProblem(file, name.replace("planner", key, 1), found, allowed)
        for name, found, allowed in mistakes
    )


def _examine(
    config: Mapping[str, Any] | str,
) -> tuple[type[Planner], list[tuple[str, object, str]]]:
    name = config if isinstance(config, str) else _name(config)
    planner, options = find_planner(name), _options(config)
    fields = options_of(planner)
    mistakes: list[tuple[str, object, str]] = [
        (f"planner.{option}", value, _fields_in_words(fields))
        for option, value in options.items()
        if option not in fields
    ]
    try:
        planner.model_validate({name: v for name, v in options.items() if name in fields})
    except ValidationError as err:
        mistakes += [
            (".".join(("planner", *map(str, e["loc"]))), e.get("input"), e["msg"])
            for e in err.errors(include_url=False)
        ]
    return planner, mistakes


def _name(config: object) -> str:
    if not isinstance(config, Mapping) or not isinstance(config.get("name"), str):
        raise ArgumentError("planner", config, f"{{name: ..., options}}; {_what_there_is()}")
    return str(config["name"])


def _options(config: Mapping[str, Any] | str) -> dict[str, Any]:
    if isinstance(config, str):
        return {}
    return {str(option): value for option, value in config.items() if option != "name"}


def _what_there_is() -> str:
    return f"{', '.join(installed_planners())}, or 'module:Name' of a class of your own"


def _fields_in_words(fields: Mapping[str, FieldInfo]) -> str:
    return "an option of this planner: " + ", ".join(
        f"{name} (default {field.default!r})" for name, field in fields.items()
    )
