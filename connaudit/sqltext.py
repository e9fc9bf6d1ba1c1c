"""Statement texts: literals taken out before anybody sees them.

Texts arrive cut off by the server, in mid-literal if need be, so that no grammar would take them: they are read
by a tokenizer that treats an unterminated literal as a literal to the end.
"""

import re
from collections.abc import Iterator
from functools import lru_cache


def _nesting(depth: int) -> str:
    """Return a pattern for a comment with so many others in each other; the innermost ends where it ends first."""
    if not depth:
        return r"/\*(?:[^*]|\*(?!/))*(?:\*/|\Z)"
    return rf"/\*(?:[^*/]|\*(?!/)|/(?!\*)|{_nesting(depth - 1)})*(?:\*/|\Z)"


# How the two families write strings. PostgreSQL knows backslash escapes only in E'', MySQL everywhere; what
# PostgreSQL writes in double quotes are names, what MySQL writes so are strings (unless ANSI_QUOTES is set).
# PostgreSQL's comments nest. Its sessions with standard_conforming_strings off know escapes everywhere: where an odd
# backslash stands before a quote nobody knows where the string ends, and all that follows is taken for one.
_POSTGRESQL = rf"""
      (?P<comment> {_nesting(3)} | --[^\r\n]* )
    | (?P<string>  [eE]'(?:[^'\\]|''|\\.)*(?:'|\\?\Z)
                 | (?:[nNbBxX]|[uU]&)?'(?:[^'\\]|''|\\\\|\\(?!'))*(?:'|\\'.*\Z|\Z)
                 | \$(?P<tag>[^\W\d]\w*|)\$.*?(?:\$(?P=tag)\$|\Z) )
    | (?P<name>    "(?:[^"]|"")*(?:"|\Z) | \$\d+ | [^\W\d][\w$]* )
"""
_MYSQL = r"""
      (?P<comment> /\*(?:[^*]|\*(?!/))*(?:\*/|\Z) | --(?=\s|\Z)[^\r\n]* | \#[^\r\n]* )
    | (?P<string>  (?:[nNbBxX]|_[a-zA-Z0-9]+\s*)?'(?:[^'\\]|''|\\.)*(?:'|\\?\Z) | "(?:[^"\\]|""|\\.)*(?:"|\\?\Z) )
    | (?P<name>    `(?:[^`]|``)*(?:`|\Z) | (?!0[xb][0-9a-fA-F])[^\W\d][\w$]* )
"""
_COMMON = r"""
    | (?P<number>  0[xXoObB][0-9a-fA-F_]+ | (?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)? )
    | (?P<space>   \s+ )
    | (?P<other>   . )
"""
_TOKENS = {
    "postgresql": re.compile(_POSTGRESQL + _COMMON, re.VERBOSE | re.DOTALL),
    "mysql": re.compile(_MYSQL + _COMMON, re.VERBOSE | re.DOTALL),
}
# sqlcommenter (key='value', percent-encoded) and marginalia (key:value): who wrote this statement, no data of it.
_TAGS = re.compile(r"/\*\s*[\w.-]+\s*(?:=\s*'[^']*'|:[^,*]+)\s*(?:,\s*[\w.-]+\s*(?:=\s*'[^']*'|:[^,*]+)\s*)*\*/")
_BLANKS = re.compile(" {2,}")
_LIST = re.compile(r"\?(?:\s*,\s*\?)+")
_PASSWORD = re.compile(
    r"""(?P<before> \b(?:\w*password\w*|passwd|identified\s+(?:with\s+\S+\s+)?(?:by|as))
          \s* (?:=|\bto\b|\bfor\b[^=]*=)? \s* (?:password\s*\(\s*)? (?:encrypted\s+)? [eE]? )
        (?P<quote>['"]) (?:\\.|(?P=quote){2}|(?!(?P=quote)).)* (?:(?P=quote)|\\?\Z)""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
_CONNINFO_PASSWORD = re.compile(r"(\bpassword\s*=\s*)(?!['\"]|\s)[^\s'\",;)]+", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(://[^:/@\s'\"]*:)[^@\s'\"]+(?=@)")


@lru_cache(maxsize=1024)  # thousands of sessions run the same few statements
def mask(sql: str, engine: str = "postgresql") -> str:
    """Return a statement with each literal as `?`, lists of them as one, and white space folded.

    >>> mask("select * from t  where a = 'o''x' and b in (1, 2.5, 3)")
    'select * from t where a = ? and b in (?)'
    >>> mask("select 1 /*route='cart',framework='django%3A5'*/ /* secret 42 */")
    "select ? /*route='cart',framework='django%3A5'*/"
    """
    return _LIST.sub("?", _BLANKS.sub(" ", "".join(_masked(sql, engine)))).strip()


def _masked(sql: str, engine: str) -> Iterator[str]:
    for token in _TOKENS[engine].finditer(sql):
        kind = token.lastgroup
        if kind == "space":
            yield " "
        elif kind in ("string", "tag", "number"):
            yield "?"
        elif kind == "comment":
            yield token[0] if _TAGS.fullmatch(token[0]) else ""
        else:
            yield token[0]


def comments(sql: str, engine: str = "postgresql") -> Iterator[str]:
    """Yield the comments of a statement, as they stand there; the last may be cut off.

    >>> list(comments("select '/*no*/' /*yes*/ -- and this"))
    ['/*yes*/', '-- and this']
    """
    if "/*" in sql or "--" in sql or "#" in sql:
        yield from (token[0] for token in _TOKENS[engine].finditer(sql) if token.lastgroup == "comment")


def without_passwords(sql: str) -> str:
    """Return a statement as it stands but for passwords, which nobody asked to see.

    >>> without_passwords("alter role a password 'x''y' login")
    "alter role a password '***' login"
    """
    sql = _PASSWORD.sub(r"\g<before>'***'", sql)
    return _URL_PASSWORD.sub(r"\1***", _CONNINFO_PASSWORD.sub(r"\1***", sql))
