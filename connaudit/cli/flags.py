"""Settings as click's options, and what was given by them."""

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
    )
