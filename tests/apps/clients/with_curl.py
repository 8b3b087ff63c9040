import subprocess
import tempfile
from pathlib import Path

from walking import Answer, Step, walk

PLACE = Path(tempfile.mkdtemp())
HEAD, BODY, SENT, JAR = (PLACE / name for name in ("head", "body", "sent", "jar"))


def send(step: Step) -> Answer:
    BODY.write_bytes(b"")
    method = ["-I"] if step.method == "HEAD" else ["-X", step.method]
    command = ["curl", "-q", "-sS", "--path-as-is", *method, "-D", HEAD, "-o", BODY, "-b", JAR, "-c", JAR]
    for name, value in step.fields:
        command += ["-H", f"{name}: {value}"]
    if step.body is not None:
        SENT.write_bytes(step.body)
        command += ["-H", "Transfer-Encoding: chunked"] if step.chunked else []
        command += ["--data-binary", f"@{SENT}"]
    subprocess.run([*command, step.url], check=True, timeout=60)
    blocks = HEAD.read_bytes().decode("latin-1").rstrip().split("\r\n\r\n")
    heads = [block for block in blocks if block.startswith("HTTP/")]  # trailers may stand behind, a 100 before it
    first, *lines = heads[-1].split("\r\n")
    fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Answer(int(first.split()[1]), fields, b"" if step.method == "HEAD" else BODY.read_bytes())


walk(send)
