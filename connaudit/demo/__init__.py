"""A demonstration: a throwaway PostgreSQL, clients that behave well and badly, and connaudit looking at them.

keeper    a process that holds the server, and takes it away when whoever started it is gone
server    starts a keeper and tells where its server is
clients   who connects to it and what each does
steps     what is shown
"""

from typing import ClassVar

from connaudit.errors import ConnauditError


class DemoFailed(ConnauditError):
    """The demonstration could not be given."""

    kind: ClassVar[str] = "internal"
