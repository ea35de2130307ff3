"""The fit loop: learns, resumes bit for bit after SIGKILL, refuses what is not its own."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_fit import SETTINGS, add_noise, blobs, tiny_net, train
from torch import nn

from cspine_lib.batches import EpochBatches, TensorBatches, derive_seed
from cspine_lib.checkpoint import MODEL_FILE, RESULT_FILE, STATE_FILE, save_weights
from cspine_lib.engine import FitSettings, fit, load_weights, predict
from cspine_lib.errors import CspineError
from cspine_lib.models import bce
from cspine_lib.trainer import Average, parameter_groups, schedule

HERE = Path(__file__).parent
PLAIN = replace(SETTINGS, ema_decay=None)


@pytest.fixture(autouse=True, scope="module")
def on_cpu():
    patch = pytest.MonkeyPatch()
    patch.setenv("CSPINE_DEVICE", "cpu")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, train(folder)


def without_times(result):
    timed = ("seconds", "samples_per_second")
    return [{k: v for k, v in e.items() if k not in timed} for e in result.history]


def weights_of(folder):
    return (Path(folder) / MODEL_FILE).read_bytes()


def auroc(outputs, targets):
    pairs = outputs[targets == 1][:, None] > outputs[targets == 0][None]
    return float(pairs.mean())


def predict_blobs(model, n=33, **options):
    options = {"batch_size": 8, "collate": TensorBatches.collate} | options
    return predict(model, blobs(n, 2), **options)


class StopError(Exception):
    """Stands for a kill in tests that need many of them."""


def stop_at(epoch, step):
    """A batch transform that breaks off in the given step of the given epoch."""
    seen = {"steps": 0}

    def transform(inputs, targets, generator):
        if generator is not None:
            if seen["steps"] == epoch * 8 + step:
                raise StopError
            seen["steps"] += 1
        return add_noise(inputs, targets, generator)

    return transform


# --- learning


def test_fit_learns_and_leaves_the_best_weights_in_the_model(tmp_path):
    model = tiny_net()
    settings = replace(PLAIN, epochs=6, metric="one_minus_auroc")
    result = fit(
        model,
        blobs(60, 1),
        blobs(33, 2),
        loss=bce,
        settings=settings,
        out_dir=tmp_path,
        collate=TensorBatches.collate,
        evaluate=lambda out, true: {"one_minus_auroc": 1 - auroc(out, true)},
        progress=False,
    )
    losses = [e["train_loss"] for e in result.history]
    assert losses[-1] < 0.8 * losses[0]
    assert result.best_score == min(e["one_minus_auroc"] for e in result.history) < 0.2
    found = auroc(predict_blobs(model), blobs(33, 2).tensors[1].numpy())
    assert 1 - found == pytest.approx(result.best_score)


def test_validation_loss_is_that_of_the_kept_weights(unbroken):
    folder, result = unbroken
    model = load_weights(tiny_net(), folder)
    outputs = torch.from_numpy(predict_blobs(model))
    found = bce(outputs, blobs(33, 2).tensors[1]).item()
    assert found == pytest.approx(result.best_score, abs=1e-6)
    assert result.best_score == min(e["val_loss"] for e in result.history)


def test_result_is_recorded(unbroken):
    folder, result = unbroken
    assert [e["epoch"] for e in result.history] == [1, 2, 3]
    assert (result.n_processes, result.precision, result.device) == (1, "no", "cpu")
    assert result.seconds == pytest.approx(sum(e["seconds"] for e in result.history))
    assert json.loads((folder / RESULT_FILE).read_text())["result"]["seconds"] == result.seconds
    assert sorted(p.name for p in folder.iterdir() if p.name != ".lock") == [
        RESULT_FILE,
        MODEL_FILE,
    ]


def test_without_validation_the_last_epoch_is_kept(tmp_path):
    result = train(tmp_path, PLAIN, n_val=0)
    assert result.best_epoch == 3
    assert np.isnan(result.best_score)


def test_a_better_earlier_epoch_is_kept(tmp_path):
    scores = iter([0.5, 0.2, 0.4, 0.3])
    result = train(
        tmp_path,
        replace(PLAIN, epochs=4, metric="x"),
        evaluate=lambda out, true: {"x": next(scores)},
    )
    assert (result.best_epoch, result.best_score) == (2, 0.2)


def test_nan_score_never_beats_a_number(tmp_path):
    scores = iter([np.nan, 0.4, np.nan])
    evaluate = lambda out, true: {"x": next(scores)}  # noqa: E731
    result = train(tmp_path, replace(PLAIN, metric="x"), evaluate=evaluate)
    assert (result.best_epoch, result.best_score) == (2, 0.4)
    # JSON has no NaN; the history that is read back has it again.
    json.loads((tmp_path / RESULT_FILE).read_text(), parse_constant=pytest.fail)
    assert np.isnan(train(tmp_path, replace(PLAIN, metric="x")).history[2]["x"])


def test_patience_ends_early(tmp_path):
    scores = iter([0.5, 0.2, 0.4, 0.3, 0.1])
    settings = replace(PLAIN, epochs=5, metric="x", patience=2)
    result = train(tmp_path, settings, evaluate=lambda out, true: {"x": next(scores)})
    assert (result.best_epoch, len(result.history)) == (2, 4)


def test_average_of_weights_is_what_is_kept(unbroken, tmp_path):
    train(tmp_path, PLAIN)
    assert weights_of(tmp_path) != weights_of(unbroken[0])


def test_average_follows_by_its_formula():
    live = nn.Linear(1, 1, bias=False)
    nn.init.constant_(live.weight, 0.0)
    average = Average(live, 0.9)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 3.0] * 40):
        nn.init.constant_(live.weight, value)
        average.update(live, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.model.weight.item() == pytest.approx(expected, rel=1e-5)


# --- going on after a kill


def test_sigkill_in_mid_epoch_then_resume_equals_unbroken(unbroken, tmp_path):
    program = [sys.executable, str(HERE / "tiny_fit.py"), str(tmp_path), "--slow"]
    # The library is found as this process finds it, installed or not.
    paths = {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, sys.path)])}
    process = subprocess.Popen(program, env={**os.environ, **paths}, stderr=subprocess.DEVNULL)
    started = time.monotonic()
    while not (tmp_path / STATE_FILE).exists():
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() - started < 60
        time.sleep(0.02)
    time.sleep(0.15)  # an epoch takes at least 0.48 s: this is in the middle of the second
    process.kill()
    process.wait()
    assert not (tmp_path / RESULT_FILE).exists()
    result = train(tmp_path)
    assert weights_of(tmp_path) == weights_of(unbroken[0])
    assert without_times(result) == without_times(unbroken[1])


@pytest.mark.parametrize(("epoch", "step"), [(0, 3), (1, 0), (2, 7)])
def test_stop_anywhere_then_resume_equals_unbroken(unbroken, tmp_path, epoch, step):
    with pytest.raises(StopError):
        train(tmp_path, batch_transform=stop_at(epoch, step))
    done = [0]

    def counting(inputs, targets, generator):
        done[0] += generator is not None
        return add_noise(inputs, targets, generator)

    train(tmp_path, batch_transform=counting)
    assert done[0] == (3 - epoch) * 8, "finished epochs are not repeated"
    assert weights_of(tmp_path) == weights_of(unbroken[0])


def test_stop_between_best_weights_and_state(unbroken, tmp_path, monkeypatch):
    with pytest.raises(StopError):
        train(tmp_path, batch_transform=stop_at(2, 0))
    before = (tmp_path / STATE_FILE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", lambda *a, **k: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            train(tmp_path)
    assert (tmp_path / STATE_FILE).read_bytes() == before
    train(tmp_path)
    assert weights_of(tmp_path) == weights_of(unbroken[0])


def test_stop_between_last_epoch_and_result(unbroken, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("cspine_lib.checkpoint.atomic_write_text", lambda *a: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(tmp_path)
    assert not (tmp_path / RESULT_FILE).exists()
    result = train(tmp_path)
    assert weights_of(tmp_path) == weights_of(unbroken[0])
    assert without_times(result) == without_times(unbroken[1])


def test_same_seed_same_bytes_other_seed_other_bytes(unbroken, tmp_path):
    train(tmp_path / "a")
    train(tmp_path / "b", replace(SETTINGS, seed=8))
    assert weights_of(tmp_path / "a") == weights_of(unbroken[0])
    assert weights_of(tmp_path / "b") != weights_of(unbroken[0])


def test_finished_folder_is_not_trained_again(unbroken):
    folder, result = unbroken
    model = tiny_net()

    def never(inputs, targets, generator):
        raise AssertionError("trained again")

    again = fit(
        model,
        blobs(60, 1),
        blobs(33, 2),
        loss=bce,
        settings=SETTINGS,
        out_dir=folder,
        batch_transform=never,
        progress=False,
    )
    assert again == result
    best = load_weights(tiny_net(), folder)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), best.parameters(), strict=True)
    )


def test_two_that_want_the_same_training_share_it(unbroken, tmp_path):
    """The second waits, then finds it done: as two notebooks under test do."""
    program = [sys.executable, str(HERE / "tiny_fit.py"), str(tmp_path), "--slow"]
    paths = {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, sys.path)])}
    process = subprocess.Popen(program, env={**os.environ, **paths}, stdout=subprocess.PIPE)
    while not (tmp_path / STATE_FILE).exists():
        assert process.poll() is None
        time.sleep(0.02)
    steps = [0]

    def counting(inputs, targets, generator):
        steps[0] += 1
        return inputs, targets

    train(tmp_path, batch_transform=counting)
    assert process.wait() == 0
    assert steps[0] == 0
    assert weights_of(tmp_path) == weights_of(unbroken[0])


def test_precision_may_change_within_a_process(unbroken, tmp_path):
    """bf16 on CPU: slow, but the same road as on CUDA.  Then 32 bit again, to the same bytes."""
    result = train(tmp_path / "half", replace(SETTINGS, precision="bf16"))
    assert result.precision == "bf16"
    assert result.best_score == pytest.approx(unbroken[1].best_score, rel=0.05)
    assert weights_of(tmp_path / "half") != weights_of(unbroken[0])
    with pytest.raises(StopError):
        train(
            tmp_path / "cut",
            replace(SETTINGS, precision="bf16"),
            batch_transform=stop_at(1, 4),
        )
    train(tmp_path / "cut", replace(SETTINGS, precision="bf16"))
    assert weights_of(tmp_path / "cut") == weights_of(tmp_path / "half")
    train(tmp_path / "full")
    assert weights_of(tmp_path / "full") == weights_of(unbroken[0])


def test_fit_gives_the_network_back_unwrapped(tmp_path):
    model = tiny_net()
    before = model.forward.__func__
    settings = replace(PLAIN, epochs=1, precision="bf16")
    fit(
        model,
        blobs(16, 1),
        loss=bce,
        settings=settings,
        out_dir=tmp_path,
        collate=TensorBatches.collate,
        progress=False,
    )
    assert model.forward.__func__ is before
    assert predict_blobs(model, precision="bf16").dtype == np.float32


# --- refusals


@pytest.mark.parametrize("half", [True, False])
def test_folder_of_another_training_is_refused(unbroken, tmp_path, half):
    shutil.copytree(unbroken[0], tmp_path, dirs_exist_ok=True)
    if half:
        (tmp_path / RESULT_FILE).unlink()
        with pytest.raises(StopError):
            train(tmp_path, batch_transform=stop_at(1, 2))
    with pytest.raises(CspineError, match=r"lr is 0.01 there, 0.02 now.*another folder"):
        train(tmp_path, replace(SETTINGS, lr=0.02))
    with pytest.raises(CspineError, match="fold"):
        train(tmp_path, fingerprint={"fold": 3})
    with pytest.raises(CspineError, match="n_val"):
        train(tmp_path, n_val=20)


def test_how_it_is_computed_may_differ(unbroken):
    assert train(unbroken[0], replace(SETTINGS, workers=2, precision="no")) == unbroken[1]


def test_damaged_state_is_named(tmp_path):
    with pytest.raises(StopError):
        train(tmp_path, batch_transform=stop_at(1, 0))
    state = tmp_path / STATE_FILE
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(CspineError, match="damaged: remove it"):
        train(tmp_path)


def test_nan_loss_stops_with_advice(tmp_path):
    def poison(inputs, targets, generator):
        return (inputs[0] * float("nan"),), targets

    with pytest.raises(CspineError, match=r"loss became nan in epoch 1.*learning rate"):
        train(tmp_path, batch_transform=poison)
    assert not (tmp_path / MODEL_FILE).exists()


def test_unknown_metric_lists_known_ones(tmp_path):
    with pytest.raises(CspineError, match=r"'auc'.*train_loss, val_loss"):
        train(tmp_path, replace(PLAIN, metric="auc"))


def test_empty_data_and_wrong_settings_are_refused(tmp_path):
    empty = TensorBatches(torch.zeros(0, 1, 8, 8), torch.zeros(0))
    with pytest.raises(CspineError, match="without samples"):
        fit(tiny_net(), empty, loss=bce, settings=PLAIN, out_dir=tmp_path)
    with pytest.raises(CspineError, match="no samples"):
        predict(tiny_net(), empty, batch_size=2)
    with pytest.raises(CspineError, match="epochs"):
        FitSettings(epochs=0)
    with pytest.raises(CspineError, match="ema_decay"):
        FitSettings(ema_decay=1.0)


def test_missing_device_is_named():
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(CspineError, match="no device 'cuda'"):
        predict_blobs(tiny_net(), device="cuda")


def test_load_weights_names_what_is_wrong(tmp_path):
    with pytest.raises(CspineError, match="no weights at"):
        load_weights(tiny_net(), tmp_path)
    save_weights(nn.Linear(2, 2).state_dict(), tmp_path / MODEL_FILE)
    with pytest.raises(CspineError, match="another network"):
        load_weights(tiny_net(), tmp_path)
    (tmp_path / MODEL_FILE).write_bytes(b"not safetensors")
    with pytest.raises(CspineError, match="damaged"):
        load_weights(tiny_net(), tmp_path)


# --- prediction


def test_predict_keeps_order_and_every_sample():
    model = tiny_net().eval()
    with torch.no_grad():
        expected = model(blobs(33, 2).tensors[0]).numpy()
    for batch_size in (1, 8, 33, 50):
        np.testing.assert_allclose(
            predict_blobs(model, batch_size=batch_size), expected, rtol=1e-5, atol=1e-6
        )


def test_predict_keeps_the_shape_of_outputs():
    class Both(nn.Module):
        def forward(self, images):
            return {"mean": images.mean((1, 2, 3)), "pair": (images[:, 0, 0], images[:, 0, 1])}

    found = predict_blobs(Both(), 10)
    assert found["mean"].shape == (10,)
    assert [a.shape for a in found["pair"]] == [(10, 8), (10, 8)]
    np.testing.assert_array_equal(found["pair"][1], blobs(10, 2).tensors[0][:, 0, 1].numpy())


def test_predict_does_not_augment():
    def only_plain(inputs, targets, generator):
        assert generator is None
        return (inputs[0] * 0,), targets

    found = predict_blobs(tiny_net(), batch_transform=only_plain)
    assert np.ptp(found) < 1e-6


def test_two_processes_lose_and_double_no_sample(tmp_path):
    program = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    paths = {"PYTHONPATH": os.pathsep.join([str(HERE.parent), *filter(None, sys.path)])}
    run = subprocess.run(
        [sys.executable, *program, str(HERE / "tiny_fit.py"), str(tmp_path)],
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    lines = [line.split() for line in run.stdout.splitlines()]
    assert [line[0] for line in lines] == ["2", "2"]
    # Both judged the whole set of 33, an odd number, and so does one process.
    model = load_weights(tiny_net(), tmp_path)
    kept = json.loads((tmp_path / RESULT_FILE).read_text())["result"]["best_score"]
    outputs = torch.from_numpy(predict_blobs(model))
    assert bce(outputs, blobs(33, 2).tensors[1]).item() == pytest.approx(kept, abs=1e-6)


# --- pieces


def test_batches_cover_each_epoch_once_and_change_with_it():
    batches = EpochBatches(50, 8, seed=3)
    first = [i for b in batches for i in b]
    assert sorted(first) == list(range(50))
    assert len(list(batches)) == len(batches) == 7
    assert [i for b in batches for i in b] == first
    batches.epoch = 1
    assert [i for b in batches for i in b] != first


def test_single_last_sample_is_left_out_but_never_a_whole_set():
    assert [len(b) for b in EpochBatches(17, 8, seed=3)] == [8, 8]
    assert [len(b) for b in EpochBatches(18, 8, seed=3)] == [8, 8, 2]
    assert [len(b) for b in EpochBatches(1, 8, seed=3)] == [1]


def test_samples_per_epoch_draws_anew():
    batches = EpochBatches(1000, 10, seed=3, limit=50)
    first = {i for b in batches for i in b}
    batches.epoch = 1
    second = {i for b in batches for i in b}
    assert len(first) == len(second) == 50
    assert first != second


def test_rare_samples_are_in_every_limited_epoch():
    batches = EpochBatches(1000, 10, seed=3, limit=50, always=[7, 500, 993])
    others = []
    for epoch in range(3):
        batches.epoch = epoch
        drawn = [i for b in batches for i in b]
        assert len(drawn) == len(set(drawn)) == 50 and {7, 500, 993} <= set(drawn)
        others.append(set(drawn) - {7, 500, 993})
    assert others[0] != others[1] != others[2]


def test_schedule_climbs_then_falls():
    factors = [schedule(i, 100, 0.1) for i in range(100)]
    assert np.argmax(factors) in (9, 10)
    assert factors[0] < 0.15
    assert np.all(np.diff(factors[:10]) > 0)
    assert np.all(np.diff(factors[10:]) < 0)
    assert 0 < factors[-1] < 0.01
    assert schedule(0, 1, 0.0) == 1


def test_norms_and_biases_do_not_decay_and_the_encoder_has_its_rate():
    model = nn.ModuleDict({"encoder": tiny_net(), "head": nn.Linear(3, 2)})
    groups = parameter_groups(model, replace(PLAIN, encoder_lr_factor=0.1, weight_decay=0.05))
    of = {id(p): g for g in groups for p in g["params"]}
    assert len(of) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        group = of[id(parameter)]
        assert group["factor"] == (0.1 if name.startswith("encoder") else 1.0)
        assert group["weight_decay"] == (0.05 if parameter.ndim > 1 else 0.0)


def test_derived_seeds_differ():
    seeds = {derive_seed(s, e, i) for s in range(5) for e in range(5) for i in range(5)}
    assert len(seeds) == 125
    assert derive_seed(1, 2) != derive_seed(2, 1)
