import httpx
from walking import Answer, Step, walk

client = httpx.Client(trust_env=False, timeout=60)


def send(step: Step) -> Answer:
    body = step.parts() if step.chunked else step.body
    answer = client.request(step.method, step.url, headers=step.fields, content=body)
    fields = [(name.decode(), value.decode("latin-1")) for name, value in answer.headers.raw]
    return Answer(answer.status_code, fields, answer.content)


walk(send)
