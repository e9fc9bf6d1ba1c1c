"""A Django project in one file: what it does well or badly with connections, real ones do as well."""

import gc
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import django  # type: ignore[import-untyped]
import pymysql
from django.conf import settings  # type: ignore[import-untyped]

KEYWORDS = json.loads(os.environ["KEYWORDS"])
POSTGRESQL = "dbname" in KEYWORDS
NAMES = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME", "database": "NAME"}
DATABASE = {
    "ENGINE": "django.db.backends.postgresql" if POSTGRESQL else "django.db.backends.mysql",
    **{NAMES[name]: value for name, value in KEYWORDS.items()},
    **json.loads(os.environ["DJANGO"]),
}

pymysql.install_as_MySQLdb()
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": DATABASE},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    ROOT_URLCONF=__name__,
    SECRET_KEY="of no use",
)
django.setup()

from django.core.handlers.asgi import ASGIHandler  # type: ignore[import-untyped] # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # type: ignore[import-untyped] # noqa: E402
from django.db import models  # type: ignore[import-untyped] # noqa: E402
from django.http import HttpRequest, HttpResponse  # type: ignore[import-untyped] # noqa: E402
from django.urls import path  # type: ignore[import-untyped] # noqa: E402

EXPORTERS = ThreadPoolExecutor(12)  # for as long as the process lives
gc.set_threshold(1500)  # half as often as by default: it is what closes connections that were left behind


class Cart(models.Model):  # type: ignore[misc]
    """A table that is there already."""

    class Meta:
        app_label = "shop"
        db_table = "cart"
        managed = False


def cart(request: HttpRequest) -> HttpResponse:
    """Ask once, as most pages do."""
    there = Cart.objects.count()
    time.sleep(0.05)
    return HttpResponse(f"{there} in your cart")


def mail(request: HttpRequest) -> HttpResponse:
    """Start a thread for what may take longer; nobody closes the connection that it opens."""
    threading.Thread(target=Cart.objects.count, daemon=True).start()
    return HttpResponse("on its way")


def export(request: HttpRequest) -> HttpResponse:
    """Ask in parallel; each thread of the executor keeps its connection."""
    return HttpResponse(str(sum(EXPORTERS.map(exported, range(12)))))


def exported(_part: int) -> int:
    """Return one part, slowly: every thread is needed."""
    time.sleep(0.2)
    return int(Cart.objects.count())


urlpatterns = [path("cart", cart), path("mail", mail), path("export", export)]
wsgi = WSGIHandler()
asgi = ASGIHandler()
