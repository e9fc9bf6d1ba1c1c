"""One line of JSON per target, for pipes that read line by line."""

from connaudit.render.json import dumps, envelope, target_document
from connaudit.render.run import Run
from connaudit.render.style import Style


def render(run: Run, style: Style) -> str:
    """Return each target with the run it belongs to; `run_status` is the verdict on all of them."""
    whole = envelope(run)
    whole["run_status"] = whole.pop("status")
    lines = (dumps(whole | target_document(target, composite=run.is_check)) for target in run.targets)
    return "".join(line + "\n" for line in lines)
