"""Settings as click's options, what was given by them, and what a shell may complete them with."""

import os
from collections.abc import Mapping
from typing import Any

import click

from connaudit.cli.settings import HELP, Setting


def given(context: click.Context, flags: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """Return what flags gave: those after the command, which count more, then those before it."""
    after = {key.replace("_", "-"): value for key, value in flags.items()}
    return after, context.meta.get("connaudit.flags", {})


def click_option(setting: Setting, field: str | None = None) -> click.Option:
    """Return a setting as click knows it; values stay text, `None` where the flag was not given."""
    return click.Option(
        [*setting.flags, field or setting.name.replace("-", "_")],
        help=setting.help + HELP.get(setting.name, ""),
        metavar=setting.metavar or None,
        is_flag=setting.switch,
        multiple=setting.multiple,
        default=None,
        shell_complete=_COMPLETED.get(setting.name),
    )


def targets_argument() -> click.Argument:
    """Return the argument that names targets."""
    return click.Argument(["targets"], nargs=-1, metavar="[TARGET]...", shell_complete=_target_names)


def _target_names(context: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    return [name for name in _configured(context) if name.startswith(begun)]


def _tags(context: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    tags = {tag for own in _configured(context).values() for tag in own.target.tags}
    return sorted(tag for tag in tags if tag.startswith(begun))


def _formats(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[Any]:
    from connaudit.render import FORMATS

    return [name for name in FORMATS if name.startswith(begun)]


_COMPLETED = {"target": _target_names, "tag": _tags, "format": _formats}


def _configured(context: click.Context) -> Mapping[str, Any]:
    """Return the configured targets; none where the configuration makes no sense: a shell cannot say so."""
    from connaudit.cli.planning import Invocation, set_up
    from connaudit.errors import ConnauditError

    try:
        return set_up(Invocation("", (), given(context, context.params), os.environ)).configuration.targets
    except ConnauditError:
        return {}
