"""Pictures of a tar side by side: OpenCV keeps to one thread meanwhile, and has its own again afterwards."""

import cv2
import pytest

from engine.processes import Processes
from engine.release.rendering import one_opencv_thread, threads_beside


def test_opencv_has_its_threads_again_whatever_happens() -> None:
    before = cv2.getNumThreads()
    with one_opencv_thread():
        assert cv2.getNumThreads() == 1
        with one_opencv_thread():
            assert cv2.getNumThreads() == 1
        assert cv2.getNumThreads() == 1
    assert cv2.getNumThreads() == before
    with pytest.raises(ZeroDivisionError), one_opencv_thread():
        raise ZeroDivisionError
    assert cv2.getNumThreads() == before


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    counts = [
        threads_beside(Processes(processes), tars) for processes, tars in ((1, 9), (2, 9), (4, 2), (8, 9), (16, 99))
    ]
    assert counts == [8, 4, 4, 1, 1]
