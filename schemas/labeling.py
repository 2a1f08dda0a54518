"""What Label Studio is told: labelling configurations, the names in them, and what annotators read.

A region is one entry of the `result` list of an annotation or a prediction. Sizes in regions are percent of the image.
"""

from typing import Literal, get_args

from schemas.stages import ANNOTATED_STAGES, STAGES, Stage

# Names of the tags in the configurations (`from_name`, `to_name`).
IMAGE = "image"
BRUSH = "brush"
POINT = "point"
BOX = "box"
VERDICT = "verdict"
COMMENT = "comment"
RATING = "rating"
# Labels of the tags.
OBJECT = "object"
FOREGROUND = "foreground"
PROMPT = "prompt"
# Our own data in the `meta` of a region; Label Studio keeps it from prediction to export.
META = "sa"

# What a project is for: people making masks in a stage, or one of the gates that masks pass on their way.
Gate = Literal["verification", "exhaustivity", "audit"]
GATES: tuple[Gate, ...] = get_args(Gate)
Purpose = Stage | Gate

# Mask verification: good stays, bad goes back to annotators, reject is no object and is taken away.
Verdict = Literal["good", "bad", "reject"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
# Exhaustivity: whether every object of the picture has a mask.
Completeness = Literal["complete", "missing"]
COMPLETENESS: tuple[Completeness, ...] = get_args(Completeness)

# A human study: each mask is rated from 1 to 10, with three questions in mind (SAM paper, appendix G).
STUDY_PREFIX = "study-"
RATINGS = range(1, 11)
QUESTIONS: dict[str, str] = {
    "object": "A valid object or part?",
    "boundary": "A clean boundary?",
    "prompt": "Does it match the point, if one is shown?",
}
_KEYS = {"object": "qw", "boundary": "as", "prompt": "zx"}  # of yes and no

SECONDS_PER_MASK_LIMIT = 30.0  # SAM paper, section 4: once a mask took longer, go to the next image

# `smartOnly`: a plain point or box cannot be drawn by mistake; it is a prompt to the model or nothing. A smart brush
# would come first among the smart tools, and clicks do nothing with it. Labels in one
# row and `defaultZoom`: else the picture runs under the bar of buttons, or opens enlarged with its borders cut off.
MASKS_CONFIG = f"""\
<View>
  <View style="display: flex; flex-wrap: wrap; gap: 1em">
    <BrushLabels name="{BRUSH}" toName="{IMAGE}" smart="false">
      <Label value="{OBJECT}" background="#1f9d8b"/>
    </BrushLabels>
    <KeyPointLabels name="{POINT}" toName="{IMAGE}" smart="true" smartOnly="true">
      <Label value="{FOREGROUND}" background="#2f6fde"/>
    </KeyPointLabels>
    <RectangleLabels name="{BOX}" toName="{IMAGE}" smart="true" smartOnly="true">
      <Label value="{PROMPT}" background="#d8862b"/>
    </RectangleLabels>
  </View>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true" rotateControl="false" defaultZoom="auto"
    horizontalAlignment="center"/>
</View>
"""


def _choices_config(question: str, answers: dict[str, str]) -> str:
    choices = "\n".join(
        f'    <Choice value="{value}" hint="{hint}" hotkey="{number}"/>'
        for number, (value, hint) in enumerate(answers.items(), start=1)
    )
    return f"""\
<View>
  <Header value="{question}"/>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true"/>
  <Choices name="{VERDICT}" toName="{IMAGE}" choice="single-radio" required="true" showInline="true">
{choices}
  </Choices>
  <TextArea name="{COMMENT}" toName="{IMAGE}" placeholder="Anything worth saying" rows="1" maxSubmissions="1"/>
</View>
"""


VERIFICATION_CONFIG = _choices_config(
    "Is the marked mask right?",
    {
        "good": "A valid object or part with a clean boundary",
        "bad": "The object is valid, the mask is not: it goes back to the annotators",
        "reject": "No object at all: the mask is taken away",
    },
)
EXHAUSTIVITY_CONFIG = _choices_config(
    "Does every object that could be named have a mask?",
    {"complete": "Nothing is missing", "missing": "At least one object has no mask"},
)


def _study_config() -> str:
    """The questions stand above the picture, and all have keys: nobody has to scroll or to aim for each mask."""
    ratings = "\n".join(f'    <Choice value="{rating}" hotkey="{rating % 10}"/>' for rating in RATINGS)
    questions = "\n".join(
        f"""\
    <View>
      <Header value="{question}" size="6"/>
      <Choices name="{name}" toName="{IMAGE}" choice="single-radio" showInline="true">
        <Choice value="yes" hotkey="{_KEYS[name][0]}"/>
        <Choice value="no" hotkey="{_KEYS[name][1]}"/>
      </Choices>
    </View>"""
        for name, question in QUESTIONS.items()
    )
    return f"""\
<View>
  <View style="display: flex; flex-wrap: wrap; column-gap: 2em">
{questions}
  </View>
  <Header value="How good is the mask, from 1 (nonsense) to 10 (no visible error)?" size="6"/>
  <Choices name="{RATING}" toName="{IMAGE}" choice="single-radio" required="true" showInline="true">
{ratings}
  </Choices>
  <Image name="{IMAGE}" value="$image" zoom="true" zoomControl="true" defaultZoom="auto"/>
  <TextArea name="{COMMENT}" toName="{IMAGE}" placeholder="Anything worth saying" rows="1" maxSubmissions="1"/>
</View>
"""


STUDY_CONFIG = _study_config()


def study_purpose(name: str) -> Purpose:
    """What the project of a study is for."""
    return f"{STUDY_PREFIX}{name}"


def labeling_config(purpose: Purpose) -> str:
    """The labelling configuration (XML) of a project."""
    if purpose.startswith(STUDY_PREFIX):
        return STUDY_CONFIG
    return {"verification": VERIFICATION_CONFIG, "exhaustivity": EXHAUSTIVITY_CONFIG}.get(purpose, MASKS_CONFIG)


def instructions(purpose: Purpose) -> str:
    """What annotators read when they open a project (HTML)."""
    if purpose.startswith(STUDY_PREFIX):
        return _RATE_MASKS
    return _INSTRUCTIONS.get(purpose, _MAKE_MASKS)


_HOW_TO = (
    "<p><b>How.</b> Switch on Auto-Annotation below the picture, and leave Auto-Accept off. The smart tools are the "
    "last icon beside it (key M: the point, again: the box). With the point tool click on an object, also where "
    "another mask lies over it, and its mask appears; with Alt held down a click says what does not belong to it. With "
    "the box tool draw a box around it. Accept the mask with Enter or the tick, then go on with the next object. The "
    "brush and the eraser (choose a mask first) mend what clicks do not reach. Submit when you are done (Ctrl+Enter); "
    "masks that were not accepted are lost.</p><p>If a click selects a mask instead of asking the model, hold Ctrl "
    "down; if it does nothing, choose the label <i>foreground</i> (key 2) or, for a box, <i>prompt</i> (key 3).</p>"
)
_ORDER = (
    "<p><b>Which objects.</b> Whatever you could name, things and stuff alike, most prominent first. <b>Once a mask "
    f"takes more than {SECONDS_PER_MASK_LIMIT:g} seconds, finish it and go to the next picture.</b> A picture without "
    "anything to mark is skipped.</p>"
)
_MAKE_MASKS = f"<p>Make a mask of each object.</p>{_ORDER}{_HOW_TO}"
_RATE_MASKS = (
    "<p>One mask at a time, in five views: the picture with its outline, the mask over it, the mask alone, and both "
    "enlarged. Take about 30 seconds. A cross shows the point that the mask was made from, where there is one.</p>"
    "<p><b>Three questions.</b> Is it a valid object or part, something that could be named? Is the boundary clean: "
    "nothing missing, nothing too much, no holes, no specks? Does it match the point: does the object lie under it?</p>"
    "<p><b>The rating.</b> <b>1</b>: nonsense, no object can be seen. <b>2 to 4</b>: an object can be seen, but the "
    "mask has huge errors. <b>5 to 6</b>: mostly right, with clear errors at the boundary. <b>7 to 9</b>: errors are "
    "small and rare. <b>10</b>: no error can be seen. Judge the mask, not how important the object is. Skip what you "
    "cannot judge.</p><p><b>Keys.</b> 1 to 9, and 0 for 10; Q and W, A and S, Z and X answer the questions with yes "
    "and no; Ctrl+Enter submits.</p>"
)
_INSTRUCTIONS: dict[Purpose, str] = {
    "semi_automatic": (
        "<p>Some masks are there already. Keep those that are right, mend those that nearly are, delete the others, "
        f"then add the objects that have none.</p>{_ORDER}{_HOW_TO}"
    ),
    "verification": (
        "<p>One mask at a time, seen in the whole picture and enlarged. Take at most 30 seconds: is it a valid object, "
        "is its boundary clean? <i>good</i>, <i>bad</i> or <i>reject</i> (keys 1 to 3).</p>"
    ),
    "exhaustivity": (
        "<p>All masks of a picture at once. Is there an object that you could name and that has no mask? "
        "<i>complete</i> or <i>missing</i> (keys 1 and 2).</p>"
    ),
    "audit": (
        "<p>Correct every mask as well as you can, with clicks, brush and eraser, without a limit of time. Delete "
        f"masks of nothing. Your masks are compared with those that were there.</p>{_HOW_TO}"
    ),
}


def project_title(workspace_name: str, purpose: Purpose) -> str:
    """The title by which a project is found again: one for each purpose in a workspace.

    Raises ValueError for a stage without people.
    """
    if purpose in STAGES and purpose not in ANNOTATED_STAGES:
        raise ValueError(f"{purpose} has no annotators")
    return f"{workspace_name}: {purpose.replace('_', ' ')}"
