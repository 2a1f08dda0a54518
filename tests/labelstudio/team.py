"""People with accounts of their own, who log in and label as the browser does, with its requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from engine.labeling.client import LabelStudioClient
from engine.labeling.server import LabelStudioServer
from tests.labelstudio.engine_workspace import client_of

PASSWORD = "a long password"
# What the page sends for "Label All Tasks", and what it sends where it was opened by a link with `?labeling=1`.
ALL_TASKS: dict[str, Any] = {}
BY_LINK: dict[str, Any] = {
    "ordering": [],
    "selectedItems": {"all": False, "included": []},
    "filters": {"conjunction": "and", "items": []},
}


class Person:
    """Somebody who is logged in."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.account = int(http.get("/api/current-user/whoami").raise_for_status().json()["id"])

    def next_task(self, project: int, asked: dict[str, Any]) -> dict[str, Any] | None:
        """The task that Label Studio hands out, None where there is none for this person."""
        answer = self._post("/api/dm/actions", asked, params={"id": "next_task", "project": project})
        if answer.status_code == 404:
            return None
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def submit(self, task: int, *regions: dict[str, Any], lead_time_s: float = 10.0, skipped: bool = False) -> int:
        """Gives back the annotation's id."""
        body = {"result": list(regions), "lead_time": lead_time_s, "was_cancelled": skipped}
        answer = self._post(f"/api/tasks/{task}/annotations/", body).raise_for_status()
        return int(answer.json()["id"])

    def _post(self, path: str, body: dict[str, Any], **arguments: Any) -> httpx.Response:
        return self.http.post(path, json=body, headers=_csrf(self.http), **arguments)


@contextmanager
def person(server: LabelStudioServer, name: str) -> Iterator[Person]:
    """Somebody who has made an account by the link that the first account gives out, and is logged in."""
    invite = str(client_of(server).get("/api/invite")["invite_url"])
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False, follow_redirects=True) as http:
        http.get(invite).raise_for_status()
        form = {"email": f"{name}@example.org", "password": PASSWORD, "allow_newsletters": "false"}
        http.post(invite, data=form, headers=_csrf(http) | {"Referer": server.url}).raise_for_status()
        yield Person(http)


def _csrf(http: httpx.Client) -> dict[str, str]:
    return {"X-CSRFToken": next((c.value for c in http.cookies.jar if c.name == "csrftoken"), "") or ""}


def project_with_tasks(server: LabelStudioServer, count: int, **settings: Any) -> int:
    """A project of the engine with tasks that need no picture."""
    client: LabelStudioClient = client_of(server)
    project = client.create_project(title=f"team {count} {settings}", config=CHOICE, instructions="")
    if settings:
        client.update_project(project, **settings)
    client.import_tasks(project, [{"data": {"text": str(number)}} for number in range(count)])
    return project


CHOICE = '<View><Text name="t" value="$text"/><Choices name="c" toName="t"><Choice value="a"/></Choices></View>'
ANSWER = {"from_name": "c", "to_name": "t", "type": "choices", "value": {"choices": ["a"]}}
