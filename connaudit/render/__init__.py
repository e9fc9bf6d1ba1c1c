"""From outcomes to text: one module per format, each with a pure `render(run, style)` that prints nothing."""

import importlib

from connaudit.render.run import Run
from connaudit.render.select import field_names, selected
from connaudit.render.style import Style

# The name of a format is the name of its module, which is imported when somebody asks for it.
FORMATS = ("table", "wide", "json", "ndjson", "csv", "markdown", "html", "nagios", "prometheus", "github", "junit")

__all__ = ["FORMATS", "Run", "Style", "field_names", "render"]


def render(name: str, run: Run, style: Style) -> str:
    """Return the run in the format of that name; UsageError says which field or format there is not."""
    if name not in FORMATS:
        raise ValueError(f"no format {name!r}")
    module = importlib.import_module(f"connaudit.render.{name}")
    text: str = module.render(selected(run, style), style)
    return text
