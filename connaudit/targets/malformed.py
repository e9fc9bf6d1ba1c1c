"""A text that cannot be read, told by place and never by content."""

ENCODE = "%, @, /, #, {, } and blanks in a user, password or database must be percent-encoded"


class Malformed(Exception):
    """Why a text given for a target cannot be read; it never holds a word of that text.

    `position` counts characters from 1; None: the place is said in words, or there is none.
    """

    def __init__(self, why: str, position: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.position = position

    def __str__(self) -> str:
        return self.why if self.position is None else f"(character {self.position}): {self.why}"


def nearest(word: str, known: "tuple[str, ...] | list[str]") -> str:
    """Return `; did you mean X?` with the known word most like this one, or nothing.

    >>> nearest("sslmod", ("sslmode", "host"))
    '; did you mean sslmode?'
    >>> nearest("s3cr3t", ("sslmode", "host"))
    ''
    """
    from difflib import get_close_matches  # 5 ms that only an error needs

    close = get_close_matches(word, known, n=1, cutoff=0.7)
    return f"; did you mean {close[0]}?" if close else ""
