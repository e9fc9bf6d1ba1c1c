"""TLS as MySQL's own clients understand `ssl-mode`: contexts that load no more than they need, and are made once.

PyMySQL would load the CA store for every connection, 20 ms each, and reads `ssl-mode` from nowhere.
"""

import functools
import socket
import ssl

from connaudit.engines.mysql.attempt import Attempt
from connaudit.errors import TlsFailed
from connaudit.targets import Target

DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY = MODES = (
    "DISABLED",
    "PREFERRED",
    "REQUIRED",
    "VERIFY_CA",
    "VERIFY_IDENTITY",
)
_OLD = "a server that knows nothing newer than TLS 1.1 can only be reached with ssl-mode=DISABLED"


def mode(target: Target, over_socket: bool) -> str:
    """Return the ssl-mode of a target; TlsFailed if it is none.

    A CA without an ssl-mode means VERIFY_CA, as in MySQL's clients. A Unix socket needs no TLS unless it is demanded.
    """
    given = (target.option("ssl-mode") or "").upper()
    if given and given not in MODES:
        raise TlsFailed("ssl-mode is none of " + ", ".join(MODES), stage="tls")
    if not given and (target.option("ssl-ca") or target.option("ssl-capath")):
        given = VERIFY_CA
    if over_socket and given in ("", PREFERRED):
        return DISABLED
    return given or PREFERRED


_FILES = ("ssl-ca", "ssl-capath", "ssl-cert", "ssl-key")
_OTHER_CA = "name the CA that signed it with ssl-ca, or accept any certificate with ssl-mode=REQUIRED"
_OTHER_NAME = "connect by the name in the certificate, or accept any name with ssl-mode=VERIFY_CA"
_MISMATCHES = (62, 64)  # OpenSSL's codes for another host name, another address


class Gate:
    """What a connection takes for its SSL context: wraps its socket, and says what went wrong in our words."""

    def __init__(self, mode: str, target: Target, attempt: Attempt) -> None:
        self._mode = mode
        self._target = target
        self._attempt = attempt
        if any(map(target.option, _FILES)):  # one that cannot be used is said whether or not the server has TLS
            self._context()

    def _context(self) -> ssl.SSLContext:
        return context(self._mode, *map(self._target.option, _FILES))

    def wrap_socket(self, sock: socket.socket, server_hostname: str) -> ssl.SSLSocket:
        """Return the socket with TLS on it; TlsFailed, never a connection that was to be verified and is not."""
        self._attempt.enter("tls")
        try:
            ready = self._context()
            sock.settimeout(self._attempt.remaining())
            wrapped = ready.wrap_socket(sock, server_hostname=server_hostname)
        except (OSError, ValueError) as error:
            sock.close()
            failure = self._failure(error, server_hostname)
        else:
            self._attempt.enter("login")
            return wrapped
        raise failure

    def _failure(self, error: OSError | ValueError, host: str) -> Exception:
        if self._attempt.over or isinstance(error, TimeoutError):
            return self._attempt.timed_out()
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message or "it cannot be verified"
            hint = _OTHER_NAME if error.verify_code in _MISMATCHES else _OTHER_CA
            return TlsFailed(f"the certificate of {host} is not to be trusted: {why}", stage="tls", hint=hint)
        if isinstance(error, ssl.SSLError):
            why = (error.reason or str(error)).replace("_", " ").lower()
            return TlsFailed(f"TLS could not be agreed upon: {why}", stage="tls", hint=_OLD)
        return TlsFailed(f"TLS could not be set up: {error}", stage="tls", hint=_OLD)


@functools.lru_cache(maxsize=64)
def context(mode: str, ca: str | None, capath: str | None, cert: str | None, key: str | None) -> ssl.SSLContext:
    """Return the context of a mode, shared by all connections that are alike.

    TlsFailed names the file that cannot be used.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Python 3.13 verifies strictly; the certificates that MySQL makes for itself are not that good.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.check_hostname = mode == VERIFY_IDENTITY
    if mode in (VERIFY_CA, VERIFY_IDENTITY):
        _trust(made, ca, capath)
    else:
        made.verify_mode = ssl.CERT_NONE
    if cert or key:
        _identify(made, cert, key)
    return made


def _trust(made: ssl.SSLContext, ca: str | None, capath: str | None) -> None:
    if not (ca or capath):
        made.load_default_certs()
        return
    try:
        made.load_verify_locations(ca, capath)
    except (OSError, ValueError) as error:
        raise _unusable("ssl-ca" if ca else "ssl-capath", ca or capath, error) from None


def _identify(made: ssl.SSLContext, cert: str | None, key: str | None) -> None:
    if not cert:
        raise TlsFailed("ssl-key is of no use without ssl-cert", stage="tls")
    try:
        # A key behind a pass phrase would ask for it on the terminal.
        made.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:
        raise _unusable("ssl-cert", cert, error) from None


def _unusable(option: str, path: str | None, error: OSError | ValueError) -> TlsFailed:
    # An SSLError is an OSError too; its text is OpenSSL's place in OpenSSL's source.
    told = None if isinstance(error, ssl.SSLError | ValueError) else error.strerror
    why = told or "it holds nothing that can be used"
    return TlsFailed(f"{option} {path}: {why}", stage="tls")
