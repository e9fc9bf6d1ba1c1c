"""A small shop under Django that holds its connections in every wrong way, for gunicorn to serve.

Its database is in $KEYWORDS, as JSON, and how many threads a worker has in $THREADS. Who holds a connection notes that
first, on a line of the file $NOTES.
"""

import gc
import json
import os
import threading
import time
from pathlib import Path

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]

WHERE = json.loads(os.environ["KEYWORDS"])
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **WHERE}},
)
django.setup()
# Django's connections are in circles, which are found late. Here they never are: what is left stays.
gc.disable()

from django.core.wsgi import get_wsgi_application  # type: ignore[import-untyped] # noqa: E402 - Django must be set up
from django.db import connection, models, transaction  # type: ignore[import-untyped] # noqa: E402
from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped] # noqa: E402
from django.urls import path  # type: ignore[import-untyped] # noqa: E402

EVERYBODY = threading.Barrier(int(os.environ["THREADS"]))


class Item(models.Model):  # type: ignore[misc]
    """What the shop sells."""

    class Meta:
        app_label = "shop"
        db_table = "wares"


def note(what: str) -> None:
    """Tell the test who holds a connection."""
    id_ = connection.connection.info.backend_pid
    told = {"what": what, "id": id_, "process": os.getpid(), "thread": threading.get_ident()}
    with Path(os.environ["NOTES"]).open("a") as notes:
        notes.write(json.dumps(told) + "\n")


def ready(_: HttpRequest) -> HttpResponse:
    return HttpResponse("ready")


def warm(_: HttpRequest) -> HttpResponse:
    """Answer when every thread of the worker is here: from then on it makes no more of its own."""
    EVERYBODY.wait(60)
    return HttpResponse("warm")


def pay(_: HttpRequest) -> HttpResponse:
    """Ask another service inside a transaction inside a transaction."""
    with transaction.atomic(), transaction.atomic():
        note("pays")
        call_payment_service()
    return HttpResponse("paid")


def call_payment_service() -> None:
    time.sleep(600)  # pays


def export(_: HttpRequest) -> HttpResponse:
    """Do slow work on each row of a cursor."""
    with transaction.atomic():
        for item in Item.objects.iterator(chunk_size=2):
            note("uploads")
            upload(item)
    return HttpResponse("exported")


def upload(_: Item) -> None:
    time.sleep(600)  # uploads


def report(_: HttpRequest) -> HttpResponse:
    """Have a thread for each report, which ends and leaves its transaction open."""
    in_thread(leave_open).join()
    return HttpResponse("reported")


def leave_open() -> None:
    transaction.set_autocommit(False)
    with transaction.atomic():
        note("left")


def stock(_: HttpRequest) -> HttpResponse:
    """Have a thread that goes on, in a transaction of its own, and has the number of one that has ended."""
    for _again in range(20):  # most systems give a number again at once
        ended = in_thread(leave_open)
        ended.join()
        if in_thread(watch_stock).ident == ended.ident:
            break
    return HttpResponse("watched")


def watch_stock() -> None:
    transaction.set_autocommit(False)
    with transaction.atomic():
        note("watches")
        time.sleep(600)  # watches


def in_thread(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


urlpatterns = [path(view.__name__, view) for view in (ready, warm, pay, export, report, stock)]
application = get_wsgi_application()
