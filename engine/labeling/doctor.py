"""Is everything ready for annotators? One check after the other, and the first thing that is wrong with its remedy."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
from PIL import Image

from engine import rle
from engine.annotation import Check
from engine.labeling.client import LabelStudioClient
from engine.labeling.folder import LabelingFolder
from engine.labeling.links import PictureLinks
from engine.labeling.regions import brush_region, region_mask
from engine.labeling.registered import backend_problem, has_webhook
from engine.labeling.secret import backend_login
from engine.labeling.setup import known_project
from engine.places import place
from schemas.errors import InputError, WaitError
from schemas.labeling import FOREGROUND, IMAGE, MASKS_CONFIG, POINT, Purpose, labeling_config

_PICTURE = "doctor/picture.jpg"
_HW = (48, 64)
_TIMEOUT_S = 10


class Doctor:
    """Looks at what annotators of a purpose need, in the order in which one thing stands on the other."""

    def __init__(
        self,
        client: LabelStudioClient,
        folder: LabelingFolder,
        purpose: Purpose,
        *,
        name: str,
        backend_url: str,
        model_id: str = "",
        links: PictureLinks = PictureLinks(),
    ) -> None:
        """model_id: that should answer clicks, "" where any will do. links: addresses of pictures."""
        self.model_id, self.links = model_id, links
        self.client, self.folder, self.purpose = client, folder, purpose
        self.name, self.backend_url = name, backend_url.rstrip("/")
        self._project = 0

    def checks(self) -> Iterator[Check]:
        """Check by check; ends with the first that is not right."""
        steps = (
            ("url", self._url),
            ("token", self._token),
            ("project", self._known),
            ("labelling config", self._config),
            ("image access", self._image_access),
            ("model backend", self._backend),
            ("smart tools", self._smart_tools),
            ("webhook", self._webhook),
            ("round trip", self._round_trip),
        )
        for name, look in steps:
            try:
                remedy = look()
            except (InputError, WaitError) as error:
                remedy = str(error)
            yield Check(name, remedy)
            if remedy:
                return

    def _url(self) -> str:
        self.client.version()
        return ""

    def _token(self) -> str:
        self.client.who_am_i()
        return ""

    def _known(self) -> str:
        found = known_project(self.client, self.folder, self.purpose, self.name)
        self._project = found or 0
        return "" if found else f"there is no project for {self.purpose}; run: sam-engine labeling setup"

    def _config(self) -> str:
        found = str(self.client.project(self._project).get("label_config", ""))
        if found.split() == labeling_config(self.purpose).split():
            return ""
        return f"project {self._project} has another labelling config; put it back with: sam-engine labeling setup"

    def _image_access(self) -> str:
        if self.links.base:
            return self._picture_server()
        pictures = str((self.folder.images / self.purpose).resolve())
        if pictures not in self.client.local_storages(self._project):
            return f"project {self._project} may not show pictures of {pictures}; run: sam-engine labeling setup"
        with self._probe_project():
            shown = self.client.content(f"/data/local-files/?d={_PICTURE}")
        if shown == place(self.folder.images / _PICTURE).read():
            return ""
        return (
            f"Label Studio shows another picture than the one in {self.folder.images}; start it with "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={self.folder.images.resolve()}"
        )

    def _picture_server(self) -> str:
        """Asks for a picture as a browser does: without any token."""
        wanted = _picture()
        place(self.folder.images / _PICTURE).write(wanted)
        start = "start it with: sam-engine labeling serve --host ADDRESS, at labeling.pictures_url of engine.yaml"
        try:
            answer = httpx.get(self.links.url(_PICTURE), timeout=_TIMEOUT_S)
        except httpx.HTTPError as error:
            return f"nobody hands out pictures at {self.links.base} ({type(error).__name__}); {start}"
        if answer.content == wanted:
            return ""
        return f"{self.links.base} does not hand out this workspace's pictures (status {answer.status_code}); {start}"

    def _backend(self) -> str:
        login, model_id = backend_login(self.folder), self.model_id
        return backend_problem(self.client, self._project, self.backend_url, login=login, model_id=model_id)

    def _smart_tools(self) -> str:
        config = str(self.client.project(self._project).get("label_config", ""))
        interactive = any(one.get("is_interactive") for one in self.client.backends(self._project))
        if config.count('smart="true"') == MASKS_CONFIG.count('smart="true"') and interactive:
            return ""
        return f"project {self._project} has no smart tools or no interactive backend; run: sam-engine labeling setup"

    def _webhook(self) -> str:
        if has_webhook(self.client, self._project, self.backend_url, backend_login(self.folder)):
            return ""
        return (
            f"project {self._project} has no webhook to {self.backend_url} with the workspace's secret; run: "
            "sam-engine labeling setup"
        )

    def _round_trip(self) -> str:
        """A picture goes out with a mask, a click brings another, both are submitted and come back as they were."""
        prefilled = rle.encode(_square())
        region = brush_region(prefilled, region_id="prefilled-0", score=0.9)
        body = {
            "data": {"image": self.links.url(_PICTURE), "image_id": "0"},
            "predictions": [{"result": [region], "score": 0.9, "model_version": "doctor"}],
        }
        with self._probe_project() as project:
            self.client.add_backend(project, url=self.backend_url, title="doctor", login=backend_login(self.folder))
            (task,) = self.client.import_tasks(project, [body])
            shown = self.client.task(task).get("predictions") or []
            if not shown or region_mask(shown[0]["result"][0], shown_hw=_HW) != prefilled:
                return "a prefilled mask does not arrive at Label Studio as it was sent; is it release 1.23.2?"
            answer = self.client.prompt(int(self.client.backends(project)[0]["id"]), task=task, context=[_click()])
            regions = (answer.get("data") or {}).get("result") or []
            if not regions:
                return f"a click brings no mask: {answer.get('errors') or 'see the log of sam-engine labeling serve'}"
            self.client.annotate(task, [region, *regions], lead_time_s=1.0)
            back = self.client.task(task)["annotations"][0]["result"]
            if [one.get("value", {}).get("rle") for one in back] != [one["value"]["rle"] for one in (region, *regions)]:
                return "submitted masks do not come back as they were; is Label Studio release 1.23.2?"
        return ""

    @contextmanager
    def _probe_project(self) -> Iterator[int]:
        """A project of our own with one picture, which is gone afterwards."""
        place(self.folder.images / _PICTURE).write(_picture())
        project = self.client.create_project(title=f"{self.name}: doctor", config=MASKS_CONFIG, instructions="")
        try:
            if not self.links.base:
                self.client.add_local_storage(project, folder=str((self.folder.images / _PICTURE).resolve().parent))
            yield project
        finally:
            self.client.delete_project(project)


def _picture() -> bytes:
    """A JPEG of one bright rectangle."""
    buffer = io.BytesIO()
    Image.fromarray((_square()[..., None] * np.array([200, 120, 40])).astype(np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def _square() -> Any:
    mask = np.zeros(_HW, dtype=bool)
    mask[12:36, 16:48] = True
    return mask


def _click() -> dict[str, Any]:
    """A click into the middle, as the browser sends it."""
    return {
        "id": "doctor",
        "type": "keypointlabels",
        "from_name": POINT,
        "to_name": IMAGE,
        "original_width": _HW[1],
        "original_height": _HW[0],
        "image_rotation": 0,
        "is_positive": True,
        "value": {"x": 50.0, "y": 50.0, "width": 0.5, "labels": [FOREGROUND], "keypointlabels": [FOREGROUND]},
    }
