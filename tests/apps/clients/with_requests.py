import requests
from walking import Answer, Step, walk

session = requests.Session()
session.trust_env = False


def send(step: Step) -> Answer:
    body = step.parts() if step.chunked else step.body
    answer = session.request(step.method, step.url, headers=dict(step.fields), data=body, allow_redirects=False)
    return Answer(answer.status_code, list(answer.raw.headers.items()), answer.content)


walk(send)
