"""Where annotators of the first two stages work, by name: `annotator.kind`."""

from engine.annotation import AnnotationTool, AnnotationToolMaker
from engine.store import Store
from schemas.config import ANNOTATION_TOOLS_GROUP, EngineConfig
from schemas.plugins import Registry

ANNOTATION_TOOLS: Registry[AnnotationToolMaker] = Registry(
    "annotation tool",
    group=ANNOTATION_TOOLS_GROUP,
    needs=("__call__",),
    builtin={
        "simulated": "stages.simulated_tool:SimulatedTool",
        "label_studio": "engine.labeling.tool:LabelStudioTool",
    },
)


def annotation_tool(store: Store, config: EngineConfig) -> AnnotationTool:
    """The tool that a workspace's settings name. Raises InputError for a name that none has."""
    return ANNOTATION_TOOLS[config.annotator.kind](store, config)
