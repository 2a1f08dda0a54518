"""Label Studio's API, as far as the engine needs it, through `label-studio-sdk`; every failure in one clear line.

Where the SDK 2.1.2 is broken, plain HTTP over the SDK's own connection is used, and a comment says so.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from engine.labeling.folder import TOKEN_VARIABLE, Credentials
from engine.labeling.secret import BackendLogin
from schemas.errors import InputError, WaitError

if TYPE_CHECKING:
    from label_studio_sdk.base_client import LabelStudioBase

_PAGE = 100
_TIMEOUT_S = 120
# A task is handed to one person, unless it wants more; who skips one has looked at it, and nobody else need.
HANDED_OUT = {"maximum_annotations": 1, "skip_queue": "IGNORE_SKIPPED"}
_NO_RETRY = {"max_retries": 0}  # a request that was carried out and whose answer was lost must not be sent again


class LabelStudioClient:
    """One server, one token.

    Every method raises WaitError where the server cannot be reached or is overloaded, which passes, and InputError for
    what somebody has to mend: a wrong token, a project that is gone, a body that is refused.
    """

    def __init__(self, credentials: Credentials) -> None:
        self.url = credentials.url.rstrip("/")
        self._credentials = credentials
        self._sdk: LabelStudioBase | None = None

    @property
    def sdk(self) -> "LabelStudioBase":
        if self._sdk is None:
            # Only now: who is not connected need not wait for it. The base client has all that is used here; what
            # `label_studio_sdk.client` adds, the conversion of exports, brings pandas and a second along.
            from label_studio_sdk.base_client import LabelStudioBase

            self._sdk = LabelStudioBase(base_url=self.url, api_key=self._credentials.token, timeout=_TIMEOUT_S)
        return self._sdk

    def who_am_i(self) -> dict[str, Any]:
        """The account that the token belongs to: "id", "email"."""
        with self._clear_errors():
            user = self.sdk.users.whoami()
            return {"id": user.id, "email": user.email}

    def version(self) -> str:
        """Release of the server."""
        found: dict[str, Any] = self.get("/api/version")
        return str(found.get("release", "unknown"))

    def projects(self) -> dict[str, int]:
        """Ids by title; of equal titles the oldest."""
        # The base client's pager asks on until a page is empty, which the server answers with 404.
        found: list[dict[str, Any]] = []
        page: dict[str, Any] = {"next": "the first"}
        while page["next"]:
            number = len(found) // _PAGE + 1
            page = self.get("/api/projects", params={"page": number, "page_size": _PAGE})
            found += page["results"]
        return {str(project["title"]): int(project["id"]) for project in reversed(found)}

    def project(self, project: int) -> dict[str, Any]:
        """ "title", "label_config", "task_number" and so on."""
        found: dict[str, Any] = self.get(f"/api/projects/{project}", what=f"project {project}")
        return found

    def create_project(self, *, title: str, config: str, instructions: str) -> int:
        with self._clear_errors():
            created = self.sdk.projects.create(
                title=title,
                label_config=config,
                expert_instruction=instructions,
                show_instruction=bool(instructions),
                show_skip_button=True,
                sampling="Sequential sampling",
                **HANDED_OUT,
            )
            return int(created.id)

    def update_project(self, project: int, **settings: Any) -> None:
        with self._clear_errors(f"project {project}"):
            self.sdk.projects.update(project, **settings)

    def local_storages(self, project: int) -> list[str]:
        """Folders of pictures that the project may show."""
        with self._clear_errors(f"project {project}"):
            return [str(storage.path) for storage in self.sdk.import_storage.local.list(project=project)]

    def add_local_storage(self, project: int, *, folder: str) -> None:
        """Let a project show the pictures of a folder under the server's document root."""
        with self._clear_errors(f"project {project}"):
            self.sdk.import_storage.local.create(
                project=project, title="pictures", path=folder, regex_filter=r".*\.jpg", use_blob_urls=True
            )

    def backends(self, project: int) -> list[dict[str, Any]]:
        """ "id", "url", "is_interactive", "basic_auth_user", "state" ("CO" where it answered just now, "ER" where it
        refused) and "model_version" of each model backend."""
        found: list[dict[str, Any]] = self.get("/api/ml", params={"project": project}, what=f"project {project}")
        return found

    def add_backend(self, project: int, *, url: str, title: str, login: BackendLogin | None = None) -> None:
        """Connect a model backend, which has to run: the server asks it at once, and shows it the login."""
        with self._clear_errors(f"project {project}"):
            self.sdk.ml.create(project=project, url=url, title=title, is_interactive=True, **_login_fields(login))

    def put_login(self, backend: int, project: int, *, url: str, title: str, login: BackendLogin) -> None:
        """Change what a model backend is shown, which has to run and to take it."""
        with self._clear_errors(f"model backend {backend}"):
            self.sdk.ml.update(backend, project=project, url=url, title=title, **_login_fields(login))

    def remove_backend(self, backend: int) -> None:
        with self._clear_errors(f"model backend {backend}"):
            self.sdk.ml.delete(backend)

    def webhooks(self, project: int) -> list[dict[str, Any]]:
        """ "id", "url" and "headers" of each address that hears of what happens in a project."""
        with self._clear_errors():
            hooks = self.sdk.webhooks.list(project=str(project))
            return [{"id": hook.id, "url": str(hook.url), "headers": hook.headers} for hook in hooks]

    def add_webhook(self, project: int, *, url: str, headers: dict[str, str]) -> None:
        """Without payload: what was done is asked for, not told, so that nothing depends on a call that got lost."""
        with self._clear_errors(f"project {project}"):
            self.sdk.webhooks.create(
                project=project,
                url=url,
                headers=headers,
                actions=["ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"],
                send_payload=False,
                send_for_all_actions=False,
            )

    def put_headers(self, webhook: int, *, url: str, headers: dict[str, str]) -> None:
        with self._clear_errors(f"webhook {webhook}"):
            self.sdk.webhooks.update(webhook, url=url, headers=headers)

    def import_tasks(self, project: int, tasks: Sequence[dict[str, Any]]) -> list[int]:
        """Add tasks ("data", "predictions"); gives back their ids in the same order."""
        with self._clear_errors(f"project {project}"):
            answer = self.sdk.projects.import_tasks(
                project, request=list(tasks), return_task_ids=True, request_options=_NO_RETRY
            )
            return [int(task) for task in answer.task_ids or ()]

    def add_prediction(self, task: int, prediction: dict[str, Any]) -> None:
        """prediction: "result", "score", "model_version"."""
        with self._clear_errors(f"task {task}"):
            self.sdk.predictions.create(task=task, **prediction, request_options=_NO_RETRY)

    def annotate(
        self, task: int, result: Sequence[dict[str, Any]], *, lead_time_s: float = 0.0, skipped: bool = False
    ) -> int:
        """Submit (or skip) a task in the place of a person; gives back the annotation's id."""
        with self._clear_errors(f"task {task}"):
            created = self.sdk.annotations.create(
                id=task,
                result=list(result),
                lead_time=lead_time_s,
                was_cancelled=skipped,
                request_options=_NO_RETRY,
            )
            return int(created.id or 0)

    def tasks(self, project: int, *, updated_since: str = "", whole: bool = True) -> Iterator[dict[str, Any]]:
        """Tasks of a project, those updated at or after a time (as in `updated_at`) where one is given.

        whole: with annotations and predictions; else data and counts alone.
        """
        # The SDK's pager turns each task into typed objects, 100 ms for 127 KB; the JSON is what we keep anyway.
        params: dict[str, Any] = {"project": project, "page_size": _PAGE, "fields": "all" if whole else "task_only"}
        if updated_since:
            params["query"] = _updated_since(updated_since)
        page = 1
        while True:
            found = self.get("/api/tasks", params=params | {"page": page}, what=f"project {project}")
            yield from found["tasks"]
            if page * _PAGE >= int(found["total"]):
                return
            page += 1

    def task(self, task: int) -> dict[str, Any]:
        """One task with its annotations and predictions."""
        found: dict[str, Any] = self.get(f"/api/tasks/{task}", what=f"task {task}")
        return found

    def want_people(self, task: int, people: int) -> None:
        """Have a task handed to so many people."""
        with self._clear_errors(f"task {task}"):
            self.sdk.tasks.update(str(task), overlap=people)

    def put_data(self, task: int, data: dict[str, Any]) -> None:
        """Replace the data of a task."""
        with self._clear_errors(f"task {task}"):
            self.sdk.tasks.update(str(task), data=data)

    def delete_task(self, task: int) -> None:
        with self._clear_errors(f"task {task}"):
            self.sdk.tasks.delete(str(task))

    def delete_project(self, project: int) -> None:
        with self._clear_errors(f"project {project}"):
            self.sdk.projects.delete(project)

    def prompt(self, backend: int, *, task: int, context: list[dict[str, Any]]) -> dict[str, Any]:
        """What a model backend answers through Label Studio to prompts on a task, as the browser would get it.

        Plain HTTP: the SDK's `ml.predict_interactive` throws the answer away.
        """
        body = {"task": task, "context": {"result": context}}
        found: dict[str, Any] = self._request("POST", f"/api/ml/{backend}/interactive-annotating", json=body)
        return found

    def get(self, path: str, *, params: dict[str, Any] | None = None, what: str = "") -> Any:
        """The JSON that a path of the API answers."""
        return self._request("GET", path, params=params, what=what)

    def content(self, path: str) -> bytes:
        """The bytes of a file that the server shows, such as a picture of a task."""
        with self._clear_errors(path):
            answer = self.sdk._client_wrapper.httpx_client.httpx_client.get(
                f"{self.url}{path}", headers=self.sdk._client_wrapper.get_headers()
            )
            self._check(answer)
            return bytes(answer.content)

    def _request(self, method: str, path: str, *, what: str = "", **arguments: Any) -> Any:
        with self._clear_errors(what):
            answer = self.sdk._client_wrapper.httpx_client.request(path.lstrip("/"), method=method, **arguments)
            self._check(answer)
            return answer.json()

    @staticmethod
    def _check(answer: Any) -> None:
        from label_studio_sdk.core.api_error import ApiError

        if answer.status_code >= 400:
            raise ApiError(status_code=answer.status_code, body=answer.text)

    @contextmanager
    def _clear_errors(self, what: str = "") -> Iterator[None]:
        import httpx
        from label_studio_sdk.core.api_error import ApiError

        try:
            yield
        except httpx.HTTPError as error:
            raise WaitError(
                f"Label Studio at {self.url} does not answer ({type(error).__name__}); start it, or mend labeling.url "
                "in engine.yaml, and run the same command again: it goes on from here"
            ) from error
        except ApiError as error:
            raise self._explained(error.status_code or 0, what, _brief(error.body)) from error

    def _explained(self, status: int, what: str, reason: str) -> InputError | WaitError:
        if status in (401, 403):
            return InputError(
                f"Label Studio at {self.url} refuses the API token ({status}: {reason}); it is wrong or has expired: "
                f"set {TOKEN_VARIABLE} to the one on its page Account & Settings"
            )
        if status == 404:
            return InputError(
                f"Label Studio at {self.url} has no {what or 'such thing'}; if it was deleted by hand, make it anew "
                "with: sam-engine labeling setup"
            )
        if status in (408, 429) or status >= 500:
            return WaitError(
                f"Label Studio at {self.url} failed ({status}: {reason}); look at its log and run the same command "
                "again: it goes on from here"
            )
        return InputError(f"Label Studio at {self.url} refuses {what or 'a request'} ({status}: {reason})")


def _login_fields(login: BackendLogin | None) -> dict[str, Any]:
    if login is None:
        return {}
    return {"auth_method": "BASIC_AUTH", "basic_auth_user": login.user, "basic_auth_pass": login.password}


def _updated_since(time: str) -> str:
    """The query of the task list for what was updated at or after a time."""
    item = {"filter": "filter:tasks:updated_at", "operator": "greater_or_equal", "type": "Datetime", "value": time}
    return json.dumps({"filters": {"conjunction": "and", "items": [item]}})


def _brief(body: Any) -> str:
    """What the server said, in a short line; what was not valid, where it says that."""
    said = body
    if isinstance(body, dict):
        said = body.get("validation_errors") or body.get("detail", body)
    text = " ".join(str(said).split())
    return text if len(text) <= 200 else text[:197] + "..."
