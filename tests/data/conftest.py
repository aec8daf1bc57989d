"""Each library that reads media, in turn."""

import pytest

from semblance.data.clips import pyav, torchcodec


@pytest.fixture(params=["pyav", "torchcodec"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read by PyAV, then by TorchCodec where it loads."""
    if request.param == "torchcodec" and not torchcodec.loads():
        pytest.skip("TorchCodec does not load: it is not installed, or does not find FFmpeg's shared libraries")
    module = {"pyav": pyav, "torchcodec": torchcodec}[request.param]
    monkeypatch.setattr("semblance.data.clips.media.reader", lambda: module)
