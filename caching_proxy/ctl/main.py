"""The commands of ``cachingproxyctl``, their options and exit statuses.

Exit status: 0 done, 1 the proxy said no, 2 wrong usage, 3 not reachable, 4 not allowed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn, ParamSpec

import attrs
import click
from click.shell_completion import get_completion_class
from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import Progress
from rich.table import Table

from caching_proxy.ctl import tables
from caching_proxy.ctl.check import check_config
from caching_proxy.ctl.client import Client, CtlError, NotAllowed, NotReachable, Refused, WrongUsage
from caching_proxy.ctl.place import dotenv_here, find_token, find_url
from caching_proxy.ctl.shown import safe
from caching_proxy.ctl.warm import MOST_URLS, is_sitemap_index, targets_of, tokens_in, warm

P = ParamSpec("P")
FILE = click.Path(path_type=Path)


@attrs.define
class Context:
    """What every command needs."""

    url: str
    token: str | None
    as_json: bool
    console: Console

    @property
    def client(self) -> Client:
        return Client(self.url, self.token)

    def show(self, document: object, shown: Callable[[], RenderableType]) -> None:
        """``document`` for programs, or what it looks like for people."""
        if self.as_json:
            click.echo(json.dumps(document, indent=2))
        else:
            self.console.print(shown(), soft_wrap=True, highlight=False)


pass_context = click.make_pass_decorator(Context)


def _chosen(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """An option of the program that stands behind the command."""
    if value is None or value is False or context.resilient_parsing:
        return
    if parameter.name == "late_url":
        context.obj.url = value
    elif parameter.name == "late_token":
        context.obj.token = _token(value, {}, {})
    else:
        context.obj.as_json = True


URL = click.Option(["--url", "late_url"], expose_value=False, callback=_chosen, hidden=True)
TOKEN = click.Option(["--token-file", "late_token"], type=FILE, expose_value=False, callback=_chosen, hidden=True)
JSON = click.Option(["--json", "late_json"], is_flag=True, expose_value=False, callback=_chosen, hidden=True)


def command(
    name: str | None = None, anywhere: tuple[click.Option, ...] = (URL, TOKEN, JSON), *, endless: bool = False
) -> Callable[[Callable[P, None]], click.Command]:
    """A command whose errors become one line and an exit status; the options ``anywhere`` may stand behind it too.

    An ``endless`` one is ended with Ctrl-C, and has then done what it was to do.
    """

    def decorate(function: Callable[P, None]) -> click.Command:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except CtlError as problem:
                _fail(str(problem), problem.status)
            except (KeyError, TypeError, AttributeError) as problem:  # a document that is not what it should be
                _fail(f"what answers is not this version's admin port ({type(problem).__name__}: {problem})", 3)
            except KeyboardInterrupt:
                if not endless:
                    raise

        made: click.Command = main.command(name)(run)
        made.params.extend(anywhere)
        return made

    return decorate


def _fail(text: str, status: int) -> NoReturn:
    click.echo(f"cachingproxyctl: {safe(text).plain}", err=True)
    sys.exit(status)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", help="Base of the admin endpoints. [$CACHINGPROXY_URL, else ADMIN_PORT or PORT here]")
@click.option("--token-file", type=FILE, help="File with the admin token. [else $ADMIN_TOKEN, or that of .env]")
@click.option("--json", "as_json", is_flag=True, help="JSON for programs instead of tables.")
@click.version_option(package_name="caching-proxy", prog_name="cachingproxyctl")
@click.pass_context
def main(context: click.Context, url: str | None, token_file: Path | None, as_json: bool) -> None:
    """Look into a running caching proxy, and change what it holds.

    Exit status: 0 done, 1 the proxy said no, 2 wrong usage, 3 not reachable, 4 not allowed.
    """
    here = dotenv_here()
    token = _token(token_file, os.environ, here)
    context.obj = Context(find_url(url, os.environ, here), token, as_json, Console())


def _token(file: Path | None, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> str | None:
    try:
        return find_token(file, environ, dotenv)
    except (OSError, UnicodeDecodeError) as problem:
        _fail(f"{file}: {getattr(problem, 'strerror', None) or 'is no text'}", 2)


@command()
@pass_context
def status(context: Context) -> None:
    """Whether the proxy is well, and what it does for its clients."""
    ready = context.client.ready()
    stats, closed = None, ""
    try:
        stats = context.client.get("/_cache/stats")
    except NotAllowed as problem:
        closed = str(problem)
    context.show({"ready": ready, "stats": stats}, lambda: tables.status(ready, stats, closed))


@command(endless=True)
@pass_context
def top(context: Context) -> None:
    """The statistics, live, until Ctrl-C."""
    stats = (data for name, data in context.client.events("/_cache/events") if name == "stats")
    if context.as_json:
        for each in stats:
            click.echo(json.dumps(each))
        return
    with Live(console=context.console, screen=context.console.is_terminal, auto_refresh=False) as live:
        for each in stats:
            live.update(tables.statistics(each), refresh=True)


@command()
@click.option("--role", help="Only keys of this role.")
@click.option("--match", help="Only keys that match this glob.")
@pass_context
def keys(context: Context, role: str | None, match: str | None) -> None:
    """The keys in the store, a line each."""
    cursor: str | None = None
    count = 0
    while True:
        page = context.client.get("/keys", match=match, cursor=cursor, limit="10000")
        wanted = page["keysByRole"].get(role, []) if role is not None else page["keys"]
        for key in wanted:
            count += 1
            click.echo(json.dumps({"key": key}) if context.as_json else safe(key).plain)
        cursor = page.get("cursor")
        if cursor is None:
            break
    if not context.as_json and context.console.is_terminal:
        click.echo(f"{count} keys", err=True)


@command()
@click.argument("key")
@pass_context
def show(context: Context, key: str) -> None:
    """What is stored under KEY."""
    document = context.client.post("/key", {"key": key})
    context.show(document, lambda: tables.entry(key, document))


def _fields(given: Iterable[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in given:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise click.BadParameter(f"{line!r} is not 'Name: value'", param_hint="-H")
        fields[name.strip()] = value.strip()
    return fields


@command()
@click.argument("url")
@click.option("-X", "--request", "method", default="GET", help="Method.", show_default=True)
@click.option("-H", "--header", "headers", multiple=True, help="A field of the request: 'Name: value'.")
@pass_context
def why(context: Context, url: str, method: str, headers: tuple[str, ...]) -> None:
    """What the cache would do with a request for URL, and why. Nothing is fetched or changed."""
    asked = {"method": method, "url": url, "headers": _fields(headers)}
    document = context.client.post("/_cache/why", asked)
    context.show(document, lambda: tables.why(document))


@command()
@click.argument("pattern", required=False)
@click.option("--tag", "tags", multiple=True, help="Invalidate what carries this tag (may be repeated).")
@click.option("--soft", is_flag=True, help="Mark as stale instead of removing.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@pass_context
def invalidate(context: Context, pattern: str | None, tags: tuple[str, ...], soft: bool, dry_run: bool) -> None:
    """Remove the keys that match PATTERN ('cache:GET:*:/api/users*'), or carry a tag."""
    if (pattern is None) == (not tags):
        raise click.UsageError("either a PATTERN or --tag")
    asked: dict[str, object] = {"tags": list(tags)} if tags else {"pattern": pattern}
    if soft:
        asked["soft"] = True
    if dry_run:
        asked["dry_run"] = True
    document = context.client.post("/invalidate", asked)
    if context.as_json:
        click.echo(json.dumps(document, indent=2))
        return
    click.echo(safe(document["message"]).plain)
    for key in document.get("sample", ()):
        click.echo(f"  {safe(key).plain}")


@command(endless=True)
@click.option("--status", "cache_status", help="Only requests with this X-Cache-Status, or this status code.")
@click.option("--path", help="Only requests whose target matches this glob.")
@pass_context
def tail(context: Context, cache_status: str | None, path: str | None) -> None:
    """Requests as they are answered, with the reason where the cache did not serve them, until Ctrl-C."""
    for name, data in context.client.events("/_cache/events?requests=on"):
        if name not in ("request", "uncached") or not _wanted(data, cache_status, path):
            continue
        if context.as_json:
            click.echo(json.dumps({"event": name, **data}))
        elif "line" in data:  # as it stands in a developer's log
            click.echo(safe(data["line"]).plain)
        elif name == "request":
            context.console.print(_line(data), soft_wrap=True, highlight=False)
        else:
            reason = data["reason"]
            told = f"  {data['method']} {data['path']}: {reason['text']} [{reason['rule'] or ''}]"
            context.console.print(safe(told, "yellow"), soft_wrap=True, highlight=False)


def _wanted(data: dict[str, Any], cache_status: str | None, path: str | None) -> bool:
    statuses = (data.get("cacheStatus"), str(data.get("status")))
    if cache_status is not None and cache_status.upper() not in statuses:
        return False
    return path is None or fnmatchcase(data.get("path", ""), path)


def _line(data: dict[str, Any]) -> RenderableType:
    took = f"{data['durationMs']:.1f} ms"
    return safe(
        f"{data['time'][11:23]} {data['cacheStatus']:<12} {data['status']} {took:>10} {data['role']} "
        f"{data['method']} {data['path']}"
    )


@command("warm", (URL, JSON))
@click.argument("source")
@click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True, help="Requests at once.")
@click.option("--role-token", "--token-file", "roles", type=FILE, help="File of bearer tokens, a line each.")
@click.option("--to", "proxy", help="Where clients reach the proxy, if that is not --url.")
@pass_context
def warm_command(context: Context, source: str, concurrency: int, roles: Path | None, proxy: str | None) -> None:
    """Ask for every URL of SOURCE: a file with one a line ('-' for standard input), or the URL of a sitemap."""
    client = Client(proxy or context.url, None)
    try:
        targets, tokens = _targets(client, source), tokens_in(roles)
    except OSError as problem:
        raise WrongUsage(f"{problem.filename or source}: {problem.strerror or problem}") from None
    except UnicodeDecodeError:
        raise WrongUsage(f"{source if roles is None else f'{source} or {roles}'}: is no text") from None
    if not targets:
        raise Refused(f"{source}: there is no URL in it")
    with Progress(console=Console(stderr=True), disable=context.as_json) as progress:
        bar = progress.add_task("warming", total=len(targets) * len(tokens))
        warmed = warm(client, targets, tokens, concurrency, lambda: progress.advance(bar))
    document = {
        "total": warmed.total,
        "failed": warmed.failed,
        "byStatus": {str(code): count for code, count in sorted(warmed.by_status.items())},
        "byCacheStatus": dict(warmed.by_cache.most_common()),
    }
    context.show(document, lambda: _summary(document))
    if warmed.failed == warmed.total:
        raise NotReachable(f"nobody answered at {client.url}")
    if warmed.bad:
        raise Refused(f"{warmed.bad} of {warmed.total} were not answered with success")


def _targets(client: Client, source: str) -> list[str]:
    if source.startswith(("http://", "https://")):
        text = client.text(source)
        if is_sitemap_index(text):
            found = (target for each in targets_of(text) for target in targets_of(client.text(each)))
            return list(dict.fromkeys(islice(found, MOST_URLS)))
        return targets_of(text)
    return targets_of(sys.stdin.read() if source == "-" else Path(source).read_text())


def _summary(document: dict[str, Any]) -> Table:
    rows = [("requests", f"{document['total']:,}"), ("failed", f"{document['failed']:,}")]
    for name in ("byStatus", "byCacheStatus"):
        rows += [(key, f"{count:,}") for key, count in document[name].items()]
    return tables.grid(*((name, safe(value)) for name, value in rows))


@command("check-config")
@click.argument("file", type=FILE, required=False)
@pass_context
def check_config_command(context: Context, file: Path | None) -> None:
    """Check settings and rules without starting anything: those of FILE (like .env), or of the environment and .env."""
    checked = check_config(file, os.environ)
    document = {"ok": not checked.problems, "problems": checked.problems, "warnings": checked.warnings}
    if context.as_json:
        click.echo(json.dumps({**document, "rules": checked.rules}, indent=2))
    else:
        for warning in checked.warnings:
            click.echo(f"warning: {safe(warning).plain}")
        for path, count in checked.rules.items():
            click.echo(f"{safe(path).plain}: {count} rules")
        if not checked.problems:
            click.echo("the settings are good")
    if checked.problems:
        raise Refused("; ".join(checked.problems))


@command(None, ())
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and options: eval "$(cachingproxyctl completion bash)"."""
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(main, {}, "cachingproxyctl", "_CACHINGPROXYCTL_COMPLETE").source())


def run() -> None:
    """The console script."""
    main(prog_name="cachingproxyctl", standalone_mode=True)
