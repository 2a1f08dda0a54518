"""The model that answers clicks, and how another takes its place while clicks go on."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.labeling.embeddings import EmbeddingCache, EmbeddingFolder, Precomputer
from engine.labeling.folder import LabelingFolder
from engine.labeling.links import PictureLinks
from engine.labeling.prompt_log import PromptHistory
from engine.labeling.prompting import Prompter
from model.registry import find_model
from model.sam import Sam
from model.storage import load_model
from schemas.config import LabelingConfig
from schemas.errors import InputError

_log = logging.getLogger(__name__)


class ServedModel:
    """A model with all that depends on it. A request takes it once, and so is answered by one model from end to end."""

    def __init__(
        self,
        workspace: Path,
        sam: Sam,
        *,
        model_id: str,
        name: str,
        settings: LabelingConfig,
        links: PictureLinks,
        history: PromptHistory,
    ) -> None:
        """history: of prompts, which go on when the model changes."""
        self.model_id, self.name = model_id, name
        root = LabelingFolder(workspace).root / "embeddings"
        disk = EmbeddingFolder(root, model_id, limit_mb=settings.embeddings_on_disk_mb)
        self.cache = EmbeddingCache(sam, disk, in_memory=settings.embeddings_in_memory)
        self.ahead = Precomputer(self.cache)
        self.prompter = Prompter(
            workspace, sam, model_id=model_id, cache=self.cache, ahead=self.ahead, links=links, history=history
        )


class Successor:
    """Looks for the model that should answer, and loads it where it is another than the one that does.

    wanted: its name or id; asked again and again, so it has to be cheap. roots: of models.
    """

    def __init__(self, wanted: Callable[[], str], roots: Sequence[Path], *, device: object = "cpu") -> None:
        self._wanted, self._roots, self._device = wanted, roots, str(device)
        self._looked_at = ("", "")
        self._told = ""

    def look(self, model_id: str) -> tuple[Sam, str, str] | None:
        """The model that should answer in the place of `model_id`, with its id and its name; None where none should.

        Where it cannot be loaded, or nobody can say which it is, that is told once, and looked at again the next time.
        """
        try:
            wanted = self._wanted()
            if (wanted, model_id) == self._looked_at:
                return None
            found = find_model(wanted, self._roots)
            loaded = None if found.model_id == model_id else load_model(wanted, self._roots, device=self._device)
        except Exception as error:  # also what a store throws whose tables are being replaced; clicks are answered on
            self._tell(error)
            return None
        self._looked_at, self._told = (wanted, model_id if loaded is None else loaded[1].model_id), ""
        return None if loaded is None else (loaded[0].eval(), loaded[1].model_id, loaded[1].name)

    def _tell(self, error: Exception) -> None:
        line = str(error) if isinstance(error, InputError | OSError) else repr(error)
        if line != self._told:
            self._told = line
            _log.warning("the next model is not to be had (%s); the one before it goes on answering", line)
