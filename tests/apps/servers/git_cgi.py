"""Smart HTTP git: ``git http-backend`` as a WSGI application, for the repositories below the working directory.

Gunicorn undoes the chunks of a push; CGI wants a length, so the body is read whole.
"""

import os
import subprocess
from collections.abc import Callable, Iterable
from typing import Any

PASSED = ("PATH_INFO", "QUERY_STRING", "REQUEST_METHOD", "CONTENT_TYPE", "REMOTE_ADDR")


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    given = {name: environ[name] for name in PASSED if name in environ}
    given |= {name: value for name, value in environ.items() if name.startswith("HTTP_")}
    own = {"GIT_PROJECT_ROOT": os.getcwd(), "GIT_HTTP_EXPORT_ALL": "1", "CONTENT_LENGTH": str(len(body))}
    own |= {"PATH": os.environ["PATH"], "GIT_PROTOCOL": environ.get("HTTP_GIT_PROTOCOL", ""), "REMOTE_USER": "me"}
    said = subprocess.run(["git", "http-backend"], input=body, env=given | own, stdout=subprocess.PIPE, check=False)
    head, _, content = said.stdout.partition(b"\r\n\r\n")
    fields = [tuple(line.split(": ", 1)) for line in head.decode("latin-1").split("\r\n")]
    status = next((value for name, value in fields if name == "Status"), "200 OK")
    start_response(status, [field for field in fields if field[0] != "Status"])
    return [content]
