"""The page that describes every key, made from the models, so that it cannot lag behind them.

Make it anew with `twinloop config schema --markdown > docs/reference/configuration.md`.
"""

from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from twinloop.agents.config.campaign_file import CampaignFile
from twinloop.agents.config.laboratory_file import LaboratoryFile

__all__ = ["reference_page"]

_INTRODUCTION = """\
# Configuration

A campaign is two YAML files. The *campaign file* says what is tried, for what goal, by which planner;
the *laboratory file* says who serves each instrument. `twinloop config check CAMPAIGN` reads both,
starts nothing, and lists every problem at once:

```text
campaign.yaml:7: search.substrate_K.low: found '5 bar', allowed: a number in K, or a quantity ...
```

- A **number** may carry a unit, in quotes or not: `410 degC`, `2 min`, `1.5 ML/s`. A plain number is
  in the unit of the field (`substrate_K`: kelvin).
- A **name** stands for something installed (`plain_bo`, `mbe_twin`) or is `module:Name` of your own.
- A **file** is named relative to the file that names it, or is one that ships with twinloop
  (`lab: standin`).
- YAML is read as plain data: no tags, no anchors and aliases, each key once, at most 1 MiB.

The run folder keeps the campaign as it was run in one file, every default written out and the
laboratory inside: that file is a campaign file again.

This page is made from the models in `agents/config/`.
"""

_LABORATORY = """\
An instrument is one line. To exchange a twin for the machine, change that line:

```yaml
mbe: {twin: mbe_twin, num_cpus: 1}                                          # a twin on Ray
mbe: {served: chamber, class: mbe_twin}                                     # a stand-in, served
mbe: {served: growth_pc, class: lab.our_mbe:OurMBE, settings: {port: COM3}} # a machine
```
"""


def reference_page() -> str:
    """Return the page as Markdown."""
    parts = [
        _INTRODUCTION,
        "## Campaign file\n",
        _table(CampaignFile),
        f"## Laboratory file\n\n{_LABORATORY}",
        _table(LaboratoryFile),
    ]
    return "\n".join(parts)


def _table(model: type[BaseModel]) -> str:
    rows = ["| key | value | default | what it says |", "|---|---|---|---|"]
    rows += [
        f"| `{key}` | {_value(schema)} | {_default(info)} | {info.description} |"
        for key, info, schema in _keys(model)
    ]
    return "\n".join(rows) + "\n"


def _keys(
    model: type[BaseModel], above: str = ""
) -> Iterator[tuple[str, FieldInfo, dict[str, Any]]]:
    """Give each key with its dotted path; `*` stands for a name that the author of a file chooses."""
    properties = model.model_json_schema(by_alias=True)["properties"]
    for name, info in model.model_fields.items():
        key = f"{above}{info.alias or name}"
        yield key, info, properties[info.alias or name]
        kind = info.annotation
        kind = get_args(kind)[0] if isinstance(kind, UnionType) else kind  # Section | None
        if get_origin(kind) is dict:
            key, kind = f"{key}.*", get_args(kind)[1]
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _keys(kind, f"{key}.")


_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "number string": "number or quantity",
    "string object": "text or mapping",
}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def _value(schema: dict[str, Any]) -> str:
    options = [o for o in schema.get("anyOf", [schema]) if o.get("type") != "null"]
    chosen = options[0]
    if "enum" in chosen:
        return ", ".join(f"`{choice}`" for choice in chosen["enum"])
    kinds = chosen.get("type", "object")
    words = _TYPES.get(kinds if isinstance(kinds, str) else " ".join(kinds), "mapping")
    # The bound of a seed is that of its 63 bits: no news to anybody.
    bounds = [
        f"{sign} {chosen[k]:g}" for k, sign in _BOUNDS.items() if chosen.get(k, 2**53) < 2**53
    ]
    return ", ".join([words, *bounds])


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    if isinstance(info.default, BaseModel):
        return "as below"
    if info.default is None or info.default == {}:
        return "none"
    text = str(info.default)
    return f"`{text.lower() if isinstance(info.default, bool) else text}`"
