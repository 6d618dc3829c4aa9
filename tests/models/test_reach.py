"""A hub that does not answer is known within seconds, and a cache is used all the same."""

from __future__ import annotations

import socket
import time

import pytest

from nfas_lightning.models import load_model, reach
from nfas_lightning.models.reach import check_reachable, hub_or_cache, is_reachable

constants = pytest.importorskip("huggingface_hub.constants")


@pytest.fixture(autouse=True)
def nobody_asked_before(monkeypatch):
    monkeypatch.setattr(reach, "_known", {})
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def silent(monkeypatch):
    """A hub whose name is resolved, and that then says nothing."""

    def connect(address, timeout):
        time.sleep(timeout)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(reach, "_PATIENCE", 0.2)


def test_a_host_that_answers_and_one_that_does_not(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/model"
        assert is_reachable(url)
        monkeypatch.setenv("http_proxy", url)
        assert is_reachable("http://somewhere.invalid/model")  # what is asked is the proxy
        monkeypatch.delenv("http_proxy")
    assert is_reachable(url)  # remembered for a while
    reach._known.clear()
    assert not is_reachable(url)


@pytest.mark.parametrize("name", ["hf:org/name@abc", "timm:resnet18", "zoo:gpt2", "torchvision:resnet18"])
def test_a_silent_hub_is_named_at_once(silent, name, monkeypatch, tmp_path):
    if not name.startswith(("hf", "zoo")):
        pytest.importorskip(name.partition(":")[0])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    host = (
        r"(huggingface\.co|download\.pytorch\.org) can't be reached from here \(no connection within 0\.2 s\)"
    )
    started = time.monotonic()
    with pytest.raises(OSError, match=host):
        load_model(name)
    assert time.monotonic() - started < 10
    assert not constants.HF_HUB_OFFLINE


def test_a_cache_serves_where_the_hub_is_silent(silent, tmp_path):
    (tmp_path / "weights.pth").touch()
    check_reachable("https://download.invalid/weights.pth", tmp_path / "weights.pth")
    with hub_or_cache():
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
