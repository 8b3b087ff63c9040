import subprocess
import tempfile
from pathlib import Path

from walking import Answer, Step, walk

PLACE = Path(tempfile.mkdtemp())
SENT, JAR, BODY = PLACE / "sent", PLACE / "jar", PLACE / "body"
BASE = ["wget", "--no-config", "-S", "-O", str(BODY), "--content-on-error", "--max-redirect=0", "-t", "1"]


def send(step: Step) -> Answer:
    command = [*BASE, f"--method={step.method}", f"--load-cookies={JAR}", f"--save-cookies={JAR}"]
    command += ["--keep-session-cookies", *(f"--header={name}: {value}" for name, value in step.fields)]
    if step.body is not None:
        SENT.write_bytes(step.body)
        command.append(f"--body-file={SENT}")
    JAR.touch()
    BODY.write_bytes(b"")
    said = subprocess.run([*command, step.url], stderr=subprocess.PIPE, check=False, timeout=60).stderr
    lines = [line[2:] for line in said.decode("utf-8", "replace").split("\n") if line.startswith("  ")]
    starts = [at for at, line in enumerate(lines) if line.startswith("HTTP/")]
    first, *rest = lines[starts[-1] :]
    fields = [(name, value.strip()) for name, colon, value in (line.partition(":") for line in rest) if colon]
    return Answer(int(first.split()[1]), fields, BODY.read_bytes())


walk(send)
