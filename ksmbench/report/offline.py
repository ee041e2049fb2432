"""What pages that need no network have in common: templates with style and plots, and the scripts that draw them."""

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape


@cache
def _vega() -> str:
    # Vega, Vega-Lite and vega-embed in one script: the page needs no network.
    import vl_convert

    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _for_script(value: object) -> Markup:
    # JSON inside a <script>: no "<" may end the element, whatever a trace is called.
    text = json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")
    return Markup(text)


def _script(text: str) -> Markup:
    return Markup(text.replace("</script", "<\\/script"))


def plots(specs: Sequence[dict[str, Any]]) -> dict[str, Markup]:
    """What the template `plots.html.j2` is filled with, to draw the Vega-Lite `specs` in `#plot-0`, `#plot-1` ..."""
    return {"vega": _script(_vega()), "specs": _for_script(list(specs))}


def _label(text: str) -> Markup:
    # A design with its settings: lines break after a comma, not within a part.
    parts = [f'<span class="part">{escape(part)}</span>' for part in re.split(r"(?<=,)(?=\S)", text)]
    return Markup("<wbr>".join(parts))


def _code(text: str) -> Markup:
    # `name` in a sentence becomes code.
    pieces = re.split(r"`([^`]+)`", text)
    shown = [f"<code>{_label(piece)}</code>" if i % 2 else str(escape(piece)) for i, piece in enumerate(pieces)]
    return Markup("".join(shown))


def environment(*loaders: BaseLoader) -> Environment:
    """The templates of this folder, after those of `loaders`; the filter `code` makes `name` in a sentence code,
    `label` shows a design with its settings.
    """
    made = Environment(
        loader=ChoiceLoader([*loaders, PackageLoader("ksmbench.report")]),
        autoescape=lambda name: bool(name and ".html" in name),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["code"] = _code
    made.filters["label"] = _label
    return made
