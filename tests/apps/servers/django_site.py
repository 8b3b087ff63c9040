"""A Django site in one file: the admin on a table of its own, sessions in the database, CSRF, messages, gzip.

``python django_site.py PORT`` makes the database in the working directory, with the superuser ``boss`` (``secret``),
and serves.
"""

import os
import sys
from pathlib import Path

import django
from django.apps import AppConfig
from django.conf import settings

HERE = Path.cwd()
settings.configure(
    DEBUG=False,
    SECRET_KEY="of-a-test",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.messages",
    ],
    MIDDLEWARE=[
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ]
            },
        }
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(HERE / "site.db")}},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    STATIC_URL="static/",
    USE_TZ=True,
)
django.setup()

from django.contrib import admin  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.cache import cache_page  # noqa: E402

assert AppConfig


def count(request: HttpRequest) -> HttpResponse:
    """How often this session has been here."""
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JsonResponse({"visits": request.session["visits"]})


@cache_page(60)
def public(request: HttpRequest) -> HttpResponse:
    return HttpResponse("the same for everyone " * 50)


def who(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"user": request.user.get_username()})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("count/", count),
    path("public/", public),
    path("who/", who),
]
application = get_wsgi_application()

if __name__ == "__main__":
    from django.contrib.auth import get_user_model

    call_command("migrate", verbosity=0)
    get_user_model().objects.create_superuser("boss", "boss@example.org", "secret")
    here = Path(__file__)
    gunicorn = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{sys.argv[1]}", "--threads", "8"]
    os.execv(sys.executable, [*gunicorn, "--pythonpath", str(here.parent), f"{here.stem}:application"])
