"""The object detector: boxes by hand, the loss by hand, and that it finds plain shapes in rendered feature maps."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.masks.nms import box_nms
from model.detector_training import (
    DetectorSample,
    DetectorTraining,
    Targets,
    assign,
    detection_loss,
    overlaps,
    train_detector,
    training_batches,
)
from model.encoded_image import EncodedImage
from model.encoders import ImageEmbedding
from model.object_detector import (
    CARD_FILE,
    WEIGHTS_FILE,
    CellOutput,
    DetectorConfig,
    ObjectDetector,
    boxes_around,
    inside,
    load_detector,
    save_detector,
    to_picture,
)
from schemas.errors import DivergedError, InputError

SIDE, CHANS = 8, 6
QUICK = DetectorTraining(seed=3, min_steps=100, passes=1, lr=4e-3, warmup_steps=10)


def constant_detector(config: DetectorConfig, *, distances: list[float], probability: float) -> ObjectDetector:
    """Every cell says the same: sides so many cells away, and that probability."""
    detector = ObjectDetector(config).eval()
    with torch.no_grad():
        for head in (detector.objectness, detector.log_distances):
            head.weight.zero_()
        detector.log_scales.zero_()
        detector.log_distances.bias.copy_(torch.tensor(distances).log())
        detector.objectness.bias.fill_(math.log(probability / (1 - probability)))
    return detector


class Rectangles:
    """`count` embeddings of one to three rectangles, two to four cells a side, each of its own direction in them."""

    def __init__(self, count: int, *, first_seed: int = 0, fine: bool = True) -> None:
        self._count, self._first_seed, self._fine = count, first_seed, fine

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> DetectorSample:
        generator = torch.Generator().manual_seed(self._first_seed + index)
        size = 16 * SIDE
        boxes, canvas = [], torch.zeros(CHANS, size, size)
        for number in range(int(torch.randint(1, 4, (1,), generator=generator))):
            width, height = torch.randint(32, 64, (2,), generator=generator).tolist()
            x = int(torch.randint(0, size // 2 - width, (1,), generator=generator)) + size // 2 * (number % 2)
            y = int(torch.randint(0, size // 2 - height, (1,), generator=generator)) + size // 2 * (number // 2)
            canvas[:, y : y + height, x : x + width] = torch.randn(CHANS, generator=generator)[:, None, None]
            boxes.append([x, y, x + width, y + height])
        noise = 0.05 * torch.randn(canvas.shape, generator=generator)
        shrink = torch.nn.functional.avg_pool2d
        fine = (shrink(canvas + noise, 8)[None],) if self._fine else ()
        embedding = ImageEmbedding(shrink(canvas + noise, 16)[None], fine)
        return DetectorSample(embedding, torch.tensor(boxes, dtype=torch.float32), (size, size))


def test_boxes_by_hand() -> None:
    detector = constant_detector(DetectorConfig(in_chans=3), distances=[0.25, 0.5, 0.25, 0.75], probability=0.25)
    # Input of 32 px, of which a picture of 64 x 32 fills the upper half. Cells of 16 px have centres (8, 8), (24, 8)
    # in it; those of 32 and 64 px have theirs at (16, 16) and (32, 32), in the padding.
    encoded = EncodedImage(ImageEmbedding(torch.zeros(1, 3, 2, 2)), image_hw=(32, 64))
    found = detector.detect(encoded, max_boxes=10)
    # 4 px to the left and right, 8 up, 12 down; times two in the picture, which ends at 32.
    assert found.boxes.tolist() == [[8.0, 0.0, 24.0, 32.0], [40.0, 0.0, 56.0, 32.0]]
    assert found.scores.tolist() == pytest.approx([0.25, 0.25])
    assert len(detector.detect(encoded, max_boxes=1).boxes) == 1
    assert len(detector.detect(encoded, max_boxes=10, min_score=0.26).boxes) == 0


def test_nothing_is_found_in_the_padding_of_a_portrait_picture() -> None:
    detector = constant_detector(DetectorConfig(in_chans=3), distances=[0.5, 0.25, 0.75, 0.25], probability=0.25)
    # The picture fills the left half of the input: cells of 16 px have centres (8, 8) and (8, 24) in it.
    encoded = EncodedImage(ImageEmbedding(torch.zeros(1, 3, 2, 2)), image_hw=(64, 32))
    found = detector.detect(encoded, max_boxes=10)
    assert found.boxes.tolist() == [[0.0, 8.0, 32.0, 24.0], [0.0, 40.0, 32.0, 56.0]]


def test_a_picture_that_the_model_sees_stretched_fills_its_input() -> None:
    detector = constant_detector(DetectorConfig(in_chans=3), distances=[0.25, 0.5, 0.25, 0.75], probability=0.25)
    # Input of 32 px, the picture's 64 rows of it halved and its columns as they are; cells of 16 px, 32 px and 64 px
    # have centres at 8 and 24, at 16, and at 32, on the edge.
    encoded = EncodedImage(ImageEmbedding(torch.zeros(1, 3, 2, 2)), image_hw=(64, 32), stretched=True)
    found = detector.detect(encoded, max_boxes=10)
    assert found.boxes.tolist() == [
        [4.0, 0.0, 12.0, 40.0],
        [20.0, 0.0, 28.0, 40.0],
        [4.0, 32.0, 12.0, 64.0],
        [20.0, 32.0, 28.0, 64.0],
        [8.0, 0.0, 24.0, 64.0],
    ]


def test_a_centre_on_the_edge_of_the_picture_lies_in_the_padding() -> None:
    centres = torch.tensor([[7.9, 3.9], [8.0, 3.9], [7.9, 4.0], [8.0, 4.0]])
    assert inside(centres, (4, 8)).tolist() == [True, False, False, False]


def test_grids_and_centres_by_hand() -> None:
    cells = ObjectDetector(DetectorConfig(in_chans=3)).cells(3)
    # 48 px of input: cells of 16 px, of 32 px (the last reach beyond it) and of 64 px.
    assert cells.strides.tolist() == [16.0] * 9 + [32.0] * 4 + [64.0]
    assert cells.centres[[0, 1, 3, 8, 9, 10, 11, 13]].tolist() == [
        [8.0, 8.0],
        [24.0, 8.0],
        [8.0, 24.0],
        [40.0, 40.0],
        [16.0, 16.0],
        [48.0, 16.0],
        [16.0, 48.0],
        [32.0, 32.0],
    ]


@given(st.integers(1, 9), st.booleans())
def test_there_is_one_output_for_each_cell(side: int, fine: bool) -> None:
    detector = ObjectDetector(DetectorConfig(in_chans=3, fine_chans=2 if fine else 0, width=8, depth=1)).eval()
    high_res = (torch.zeros(2, 5, 4 * side, 4 * side), torch.zeros(2, 2, 2 * side, 2 * side)) if fine else ()
    with torch.no_grad():
        output = detector(ImageEmbedding(torch.zeros(2, 3, side, side), high_res))
    count = len(detector.cells(side).strides)
    assert output.objectness.shape == (2, count)
    assert output.distances.shape == (2, count, 4)
    assert bool((output.distances > 0).all())


@given(
    st.tuples(*[st.floats(0, 100)] * 2),
    st.tuples(*[st.floats(0.1, 200)] * 4),
    st.integers(20, 400),
    st.integers(20, 400),
)
def test_boxes_lie_in_the_picture(
    centre: tuple[float, float], distances: tuple[float, ...], height: int, width: int
) -> None:
    boxes = boxes_around(torch.tensor([centre]), torch.tensor([distances]))
    x0, y0, x1, y1 = to_picture(boxes, (100, 100), (height, width))[0].tolist()
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height


def test_cells_are_asked_for_the_smallest_box_around_them() -> None:
    cells = ObjectDetector(DetectorConfig(in_chans=3)).cells(4)  # centres at 8, 24, 40, 56; at 16, 48; at 32
    small, around = [20.0, 20.0, 30.0, 30.0], [0.0, 0.0, 50.0, 48.0]
    targets = assign(cells, torch.tensor([around, small]), (64, 64))
    finest = targets.positive[0, :16].reshape(4, 4)
    # The centre of the large box is (25, 24): cells less than 24 px from it are asked, those of the small one too.
    assert finest.nonzero().tolist() == [[row, column] for row in range(3) for column in range(3)]
    assert targets.distances[0, 5].tolist() == [4.0, 4.0, 6.0, 6.0]
    assert targets.distances[0, 0].tolist() == [8.0, 8.0, 42.0, 40.0]
    assert not targets.positive[0, 16:].any(), "both are too small for the coarser grids"


def test_large_boxes_are_for_coarser_grids_and_padding_does_not_count() -> None:
    detector = ObjectDetector(DetectorConfig(in_chans=3))
    cells = detector.cells(32)  # 512 px: grids of 32, 16 and 8 cells a side
    targets = assign(cells, torch.tensor([[0.0, 0.0, 300.0, 250.0], [0.0, 0.0, 512.0, 256.0]]), (256, 512))
    by_grid = [int(part.sum()) for part in targets.positive[0].split([32 * 32, 16 * 16, 8 * 8])]
    assert by_grid[0] == 0
    assert by_grid[1] > 0
    assert by_grid[2] > 0
    assert torch.equal(targets.counted[0], cells.centres[:, 1] < 256)
    assert not (targets.positive & ~targets.counted).any()
    nothing = assign(cells, torch.zeros(0, 4), (256, 512))
    assert not nothing.positive.any()
    assert torch.equal(nothing.counted, targets.counted)


def test_overlaps_by_hand() -> None:
    first = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 3.0, 1.0, 3.0]])
    second = torch.tensor([[2.0, 1.0, 1.0, 1.0], [3.0, 1.0, 3.0, 1.0]])
    iou, giou = overlaps(first, second)
    assert iou.tolist() == pytest.approx([4 / 6, 4 / 20])
    assert giou.tolist() == pytest.approx([4 / 6, 4 / 20 - 16 / 36])


def test_loss_by_hand() -> None:
    distances = torch.tensor([[[1.0, 1.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0], [5.0, 5.0, 5.0, 5.0]]])
    wanted = torch.tensor([[[2.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
    positive, counted = torch.tensor([[True, False, False]]), torch.tensor([[True, True, False]])
    logits = torch.tensor([[0.0, math.log(1 / 3), 50.0]])  # probabilities 1/2, 1/4; the third lies in the padding
    loss = detection_loss(CellOutput(logits, distances), Targets(wanted, positive, counted))
    of_positive = (1 / 2 - 2 / 3) ** 2 * math.log(2)
    of_negative = (1 / 4) ** 2 * -math.log(3 / 4)
    assert loss.objectness.item() == pytest.approx(of_positive + of_negative, rel=1e-5)
    assert loss.box.item() == pytest.approx(1 - 2 / 3, rel=1e-5)


@pytest.mark.parametrize("fine", [True, False])
def test_the_loss_falls_and_shapes_that_were_not_seen_are_found(fine: bool) -> None:
    losses: list[float] = []
    training = replace(QUICK, min_steps=140)
    detector = train_detector(Rectangles(48, fine=fine), training, on_step=lambda _, __, loss: losses.append(loss))
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    found = wrong = objects = 0
    unseen = Rectangles(20, first_seed=1000, fine=fine)
    for index in range(len(unseen)):
        sample = unseen[index]
        boxes = confident_boxes(detector, sample)
        iou = box_iou(boxes, sample.boxes)
        hits = (iou >= 0.5).any(dim=0)
        found, objects = found + int(hits.sum()), objects + len(hits)
        wrong += len(boxes) - int((iou >= 0.5).any(dim=1).sum())
    assert found >= 0.8 * objects
    assert wrong <= 0.25 * objects


def confident_boxes(detector: ObjectDetector, sample: DetectorSample) -> Tensor:
    detections = detector.detect(EncodedImage(sample.embedding, sample.input_hw), max_boxes=100, min_score=0.4)
    return detections.boxes[box_nms(detections.boxes, detections.scores, iou_threshold=0.5)]


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    low = torch.maximum(first[:, None, :2], second[None, :, :2])
    high = torch.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=-1) for boxes in (first, second)]
    return shared / (areas[0][:, None] + areas[1][None] - shared)


def test_one_seed_gives_one_detector() -> None:
    training = replace(QUICK, min_steps=6)
    first, again, other = (train_detector(Rectangles(10), replace(training, seed=seed)) for seed in (1, 1, 2))
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    assert not torch.equal(first.objectness.weight, other.objectness.weight)


def test_going_on_from_a_detector_begins_where_it_ended() -> None:
    start = train_detector(Rectangles(24), QUICK)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    training, others = replace(QUICK, min_steps=10, lr=1e-4), Rectangles(8, first_seed=500)
    losses: list[float] = []
    train_detector(others, training, on_step=lambda _, __, loss: losses.append(loss))
    least_of_new = min(losses)
    losses.clear()
    trained = train_detector(others, training, start=start, on_step=lambda _, __, loss: losses.append(loss))
    assert max(losses) < 0.8 * least_of_new
    assert all(torch.equal(value, before[name]) for name, value in start.state_dict().items())
    assert not torch.equal(trained.objectness.weight, start.objectness.weight)
    with pytest.raises(InputError, match="other embeddings"):
        train_detector(Rectangles(8, fine=False), training, start=start)


def test_training_leaves_other_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train_detector(Rectangles(2), replace(QUICK, min_steps=1))
    assert torch.equal(torch.rand(3), expected)


@given(st.integers(1, 70), st.integers(1, 30), st.integers(1, 9), st.integers(1, 3))
def test_every_image_comes_and_few_are_in_memory(images: int, in_memory: int, batch_size: int, passes: int) -> None:
    training = DetectorTraining(
        min_steps=1, passes=passes, many_images=20, batch_size=batch_size, images_in_memory=in_memory
    )
    batches = list(training_batches(images, training))
    assert len(batches) == training.steps(images)
    assert {len(batch) for _, batch in batches} == {batch_size}
    blocks: dict[int, set[int]] = {}
    for block, batch in batches:
        blocks.setdefault(block, set()).update(batch)
    assert [block for block, _ in batches] == sorted(block for block, _ in batches)
    assert all(len(block) <= in_memory for block in blocks.values())
    assert sum(map(len, blocks.values())) == len(set().union(*blocks.values()))
    assert set().union(*blocks.values()) == set(range(images))


def test_steps_grow_with_images_until_each_comes_once() -> None:
    training = DetectorTraining(passes=16, many_images=1000, min_steps=300, batch_size=8)
    assert [training.steps(images) for images in (1, 100, 500, 1000, 8000, 16_000, 32_000)] == [
        300,
        300,
        1000,
        2000,
        2000,
        2000,
        4000,
    ]


def test_a_detector_comes_back_from_its_folder(tmp_path: Path) -> None:
    detector = train_detector(Rectangles(4), replace(QUICK, min_steps=2))
    save_detector(detector, tmp_path / "kept", {"masks": 7})
    loaded, card = load_detector(tmp_path / "kept")
    assert card["masks"] == 7
    assert loaded.config == detector.config
    encoded = EncodedImage(Rectangles(1)[0].embedding, (128, 128))
    for before, after in zip(detector.detect(encoded, max_boxes=9), loaded.detect(encoded, max_boxes=9), strict=True):
        assert torch.equal(before, after)
    save_detector(train_detector(Rectangles(4), replace(QUICK, min_steps=1)), tmp_path / "kept", {"masks": 8})
    assert load_detector(tmp_path / "kept")[1] == card, "the first one stays"
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]


@pytest.mark.parametrize("damage", ["no card", "no weights", "other weights", "other card"])
def test_a_damaged_detector_is_named(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "kept"
    save_detector(ObjectDetector(DetectorConfig(in_chans=3)), folder, {})
    if damage == "no card":
        (folder / CARD_FILE).unlink()
    elif damage == "no weights":
        (folder / WEIGHTS_FILE).unlink()
    elif damage == "other weights":
        (folder / WEIGHTS_FILE).write_bytes((folder / WEIGHTS_FILE).read_bytes()[:-1] + b"!")
    else:
        (folder / CARD_FILE).write_text("{}")
    with pytest.raises(InputError, match=r"kept: a damaged detector .* delete the folder"):
        load_detector(folder)


def test_what_cannot_be_learned_from_is_refused() -> None:
    class Empty(Rectangles):
        def __getitem__(self, index: int) -> DetectorSample:
            return super().__getitem__(index)._replace(boxes=torch.zeros(0, 4))

    class Broken(Rectangles):
        def __getitem__(self, index: int) -> DetectorSample:
            sample = super().__getitem__(index)
            return sample._replace(
                embedding=ImageEmbedding(sample.embedding.features * torch.nan, sample.embedding.high_res)
            )

    training = replace(QUICK, min_steps=2)
    with pytest.raises(InputError, match="no image"):
        train_detector(Rectangles(0), training)
    with pytest.raises(InputError, match="no mask is large enough"):
        train_detector(Empty(3), training)
    with pytest.raises(DivergedError, match="step 0"):
        train_detector(Broken(3), training)
