"""Fuzzing with atheris: ``python tests/fuzz/run.py SECONDS [HARNESS…]``, all harnesses by default, in turn.

SECONDS are shared out among them, and at least one each. An input that makes a harness fail is kept as a file under
``regressions/<harness>/``, where the suite replays it from then on; the exit status is 1 if there was any. What was
learnt about a parser is kept in ``.hypothesis/fuzz/<harness>/`` and is where the next run begins.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LARGEST = 4096


def fuzz(name: str, arguments: list[str]) -> None:
    """This process from here on: libFuzzer on one harness. Does not return."""
    import atheris

    with atheris.instrument_imports(include=["caching_proxy"]):
        from fuzz.harnesses import HARNESSES
    atheris.Setup([sys.argv[0], *arguments], HARNESSES[name])
    atheris.Fuzz()


def run(name: str, seeds: tuple[bytes, ...], seconds: int) -> bool:
    """Fuzz one harness in a process of its own; whether nothing was found."""
    found, corpus = HERE / "regressions" / name, ROOT / ".hypothesis" / "fuzz" / name
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", f"-max_len={LARGEST}", f"-artifact_prefix={found}/", "-timeout=10"]
    print(f"== {name}: {seconds} s", flush=True)
    status = subprocess.run(
        [sys.executable, __file__, "--one", name, *options, "-verbosity=0", "-print_final_stats=1", str(corpus)]
    ).returncode
    if not any(found.iterdir()):
        found.rmdir()
    return status == 0


def main() -> int:
    sys.path[:0] = [str(ROOT), str(HERE.parent)]
    if sys.argv[1:2] == ["--one"]:
        fuzz(sys.argv[2], sys.argv[3:])
    from fuzz.harnesses import HARNESSES, SEEDS

    seconds, names = int(sys.argv[1]), sys.argv[2:] or list(HARNESSES)
    clean = [run(name, SEEDS[name], max(1, seconds // len(names))) for name in names]
    bad = [name for name, good in zip(names, clean, strict=True) if not good]
    print(f"found something in: {', '.join(bad)}" if bad else "nothing found")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
