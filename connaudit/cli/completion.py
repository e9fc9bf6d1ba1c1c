"""`connaudit completion`: the script by which a shell completes commands, options and targets."""

from importlib import import_module

import click

from connaudit.cli import output
from connaudit.cli.helpful import Helpful

VARIABLE = "_CONNAUDIT_COMPLETE"  # by which click's scripts ask us for words
SHELLS = {"bash": "BashComplete", "zsh": "ZshComplete", "fish": "FishComplete"}
HELP = """The script by which SHELL completes commands and options, to be loaded where the shell starts.

\b
bash:  eval "$(connaudit completion bash)"           in ~/.bashrc
zsh:   eval "$(connaudit completion zsh)"            in ~/.zshrc
fish:  connaudit completion fish > ~/.config/fish/completions/connaudit.fish
"""


def _completion(shell: str) -> int:
    from connaudit.cli.commands import tree

    kind = getattr(import_module("click.shell_completion"), SHELLS[shell])
    script = kind(tree(), {}, "connaudit", VARIABLE)  # its source() would run bash to learn its version
    output.write(script.source_template % script.source_vars() + "\n", None)
    return 0


command = Helpful(
    "completion",
    params=[click.Argument(["shell"], type=click.Choice(list(SHELLS)))],
    callback=_completion,
    help=HELP,
)
