"""One place for files: who opens, makes, changes, lists or removes files by calls of its own, and why it may."""

from pathlib import Path

from tests.file_calls import file_calls, modules_with_file_calls

# Files of workspaces. All others go through these, so that a workspace can lie elsewhere than on this disk.
WORKSPACE = {
    "model/files.py": "the one atomic write",
    "engine/files.py": "locks, and logs that grow by lines",
    "engine/places.py": "places on this disk, and what goes to a URL on its way",
    "model/registry.py": "folders of models, also of the user's own and the built-in ones",
    "model/weights_folder.py": "cards of small networks in such folders",
    "model/training/checkpoint.py": "checkpoints, on a disk of the machine that trains",
}
# Label Studio runs on this machine and reads its own folders; the embeddings of its backend are a cache beside it.
LABEL_STUDIO = {
    "engine/labeling/embeddings.py",
    "engine/labeling/files.py",
    "engine/labeling/installation.py",
    "engine/labeling/secret.py",
    "engine/labeling/page/sam_engine_page.py",
    "engine/labeling/server.py",
    "engine/labeling/server_settings.py",
}
# What the user names on the command line, files of packages, and the user's downloads.
USERS = {
    "engine/archives.py",
    "engine/compiled.py",
    "engine/folders.py",
    "engine/images.py",
    "engine/labels/embedded.py",
    "engine/labels/mask_pictures.py",
    "engine/labels/open_images.py",
    "engine/labels/pictures.py",
    "engine/labels/streamed.py",
    "engine/labels/text.py",
    "engine/labels/yolo.py",
    "engine/own_output.py",
    "engine/prompt_files.py",
    "engine/release/coco.py",
    "engine/release/labelstudio.py",
    "engine/release/lvis.py",
    "engine/release/parquet_images.py",
    "engine/release/png.py",
    "engine/release/report/references.py",
    "engine/label_tables.py",
    "engine/release/yolo.py",
    "engine/replay.py",
    "engine/sources.py",
    "flows/cli.py",
    "flows/demo/photos.py",
    "model/checkpoints.py",
    "model/download.py",
    "model/efficientnet.py",
    "model/fetch.py",
    "model/minilm.py",
    "model/word_pieces.py",
}


def test_few_modules_make_file_calls() -> None:
    found = modules_with_file_calls(Path(__file__).parents[1])
    allowed = WORKSPACE.keys() | LABEL_STUDIO | USERS
    others = {name: calls for name, calls in found.items() if name not in allowed}
    assert not others, f"use engine.places (or model.files on the model floor): {others}"
    assert allowed <= found.keys(), f"no file calls any more, take them off the list: {allowed - found.keys()}"
    assert len(WORKSPACE) <= 6


def test_no_module_takes_a_workspace_for_a_path() -> None:
    root = Path(__file__).parents[1]
    for floor in ("engine", "stages", "flows"):
        for path in (root / floor).rglob("*.py"):
            assert "store.workspace /" not in path.read_text(encoding="utf-8"), f"{path}: use store.files"


def test_what_counts_as_a_file_call() -> None:
    source = """
open("a"); path.open("rb"); path.write_bytes(b""); os.replace(a, b); temp.replace(b); shutil.rmtree(a)
os.environ.get("a"); text.replace("a", "b"); replace(record, state="open"); place.write(b""); place.read()
Image.open(io.BytesIO(data)); tarfile.open(fileobj=file); tarfile.open(path)
"""
    names = [name for _, name in sorted(file_calls(source))]
    assert names == [".open", ".replace", ".write_bytes", "open", "os.replace", "shutil.rmtree", "tarfile.open"]
