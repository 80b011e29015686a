import hashlib
import os
import re
import zipfile
from pathlib import Path

import pytest
import torch

from evaluation.distances.inception import BlockA, BlockE, Inception
from evaluation.distances.inception_weights import PUBLISHED, open_inception


def convolution(name, after, before, high, wide):
    return {
        f"{name}.conv.weight": (after, before, high, wide),
        **{f"{name}.bn.{part}": (after,) for part in ("weight", "bias", "running_mean", "running_var")},
        f"{name}.bn.num_batches_tracked": (),
    }


def published_names():
    """Names and shapes of the common weights file, written from the paper's tables, not from our modules."""
    rows = """
        Conv2d_1a_3x3 32 3 3 3, Conv2d_2a_3x3 32 32 3 3, Conv2d_2b_3x3 64 32 3 3, Conv2d_3b_1x1 80 64 1 1,
        Conv2d_4a_3x3 192 80 3 3"""
    for name, before, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        rows += f""", Mixed_{name}.branch1x1 64 {before} 1 1, Mixed_{name}.branch5x5_1 48 {before} 1 1,
            Mixed_{name}.branch5x5_2 64 48 5 5, Mixed_{name}.branch3x3dbl_1 64 {before} 1 1,
            Mixed_{name}.branch3x3dbl_2 96 64 3 3, Mixed_{name}.branch3x3dbl_3 96 96 3 3,
            Mixed_{name}.branch_pool {pooled} {before} 1 1"""
    rows += """, Mixed_6a.branch3x3 384 288 3 3, Mixed_6a.branch3x3dbl_1 64 288 1 1,
        Mixed_6a.branch3x3dbl_2 96 64 3 3, Mixed_6a.branch3x3dbl_3 96 96 3 3"""
    for name, c in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        rows += f""", Mixed_{name}.branch1x1 192 768 1 1, Mixed_{name}.branch7x7_1 {c} 768 1 1,
            Mixed_{name}.branch7x7_2 {c} {c} 1 7, Mixed_{name}.branch7x7_3 192 {c} 7 1,
            Mixed_{name}.branch7x7dbl_1 {c} 768 1 1, Mixed_{name}.branch7x7dbl_2 {c} {c} 7 1,
            Mixed_{name}.branch7x7dbl_3 {c} {c} 1 7, Mixed_{name}.branch7x7dbl_4 {c} {c} 7 1,
            Mixed_{name}.branch7x7dbl_5 192 {c} 1 7, Mixed_{name}.branch_pool 192 768 1 1"""
    rows += """, Mixed_7a.branch3x3_1 192 768 1 1, Mixed_7a.branch3x3_2 320 192 3 3,
        Mixed_7a.branch7x7x3_1 192 768 1 1, Mixed_7a.branch7x7x3_2 192 192 1 7,
        Mixed_7a.branch7x7x3_3 192 192 7 1, Mixed_7a.branch7x7x3_4 192 192 3 3"""
    for name, before in (("7b", 1280), ("7c", 2048)):
        rows += f""", Mixed_{name}.branch1x1 320 {before} 1 1, Mixed_{name}.branch3x3_1 384 {before} 1 1,
            Mixed_{name}.branch3x3_2a 384 384 1 3, Mixed_{name}.branch3x3_2b 384 384 3 1,
            Mixed_{name}.branch3x3dbl_1 448 {before} 1 1, Mixed_{name}.branch3x3dbl_2 384 448 3 3,
            Mixed_{name}.branch3x3dbl_3a 384 384 1 3, Mixed_{name}.branch3x3dbl_3b 384 384 3 1,
            Mixed_{name}.branch_pool 192 {before} 1 1"""
    found = {}
    for row in rows.split(","):
        name, *sizes = row.split()
        found |= convolution(name, *map(int, sizes))
    return found | {"fc.weight": (1008, 2048), "fc.bias": (1008,)}


def test_names_and_shapes_are_those_of_the_common_weights_file():
    with torch.device("meta"):
        network = Inception()
    found = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    assert found == published_names()
    assert len(found) == 566


def test_pictures_become_features_of_the_last_pool():
    with torch.device("meta"):
        assert Inception().eval()(torch.empty(2, 3, 299, 299)).shape == (2, 2048)


def test_average_pools_leave_their_padding_out_of_the_mean():
    """Over a picture of one value the pool is that value up to the border; with padding it would fade there."""
    block = BlockA(4, pooled=2).eval()
    block.branch_pool = torch.nn.Identity()
    pooled = block(torch.ones(1, 4, 6, 6))[:, -4:]
    assert torch.equal(pooled, torch.ones(1, 4, 6, 6))


@pytest.mark.parametrize("maximum", [False, True])
def test_the_last_block_takes_a_maximum_where_the_one_before_takes_a_mean(maximum):
    block = BlockE(3, maximum=maximum).eval()
    block.branch_pool = torch.nn.Identity()
    x = torch.rand(1, 3, 5, 5)
    inner = x.unfold(2, 3, 1).unfold(3, 3, 1)
    expected = inner.amax(dim=(4, 5)) if maximum else inner.mean(dim=(4, 5))
    assert torch.allclose(block(x)[:, -3:, 1:-1, 1:-1], expected)


def test_only_the_last_block_takes_a_maximum():
    with torch.device("meta"):
        network = Inception()
    assert (network.Mixed_7b.maximum, network.Mixed_7c.maximum) == (False, True)


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file as published in form, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(Inception().state_dict(), path)
    return path


def test_an_unknown_file_is_refused_in_one_line_that_says_how_to_allow_it(weights):
    digest = digest_of(weights)
    with pytest.raises(ValueError, match=re.escape(f"evaluate.networks.inception_sha256={digest}")) as refusal:
        open_inception(weights)
    assert "\n" not in str(refusal.value)


def test_a_file_that_the_user_vouches_for_is_loaded_tensor_by_tensor(weights):
    network, digest = open_inception(weights, allowed=digest_of(weights))
    assert digest == digest_of(weights)
    state = torch.load(weights, weights_only=True)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_file_without_counters_of_training_loads_too(weights, tmp_path):
    state = {name: value for name, value in torch.load(weights).items() if not name.endswith("num_batches_tracked")}
    path = tmp_path / "short.pth"
    torch.save(state, path)
    network, _ = open_inception(path, allowed=digest_of(path))
    assert len(state) == 472
    assert torch.equal(network.fc.weight, state["fc.weight"])


def test_another_network_s_weights_are_named(weights, tmp_path):
    state = torch.load(weights)
    state["Mixed_5b.branch1x1.conv.weight"] = torch.zeros(1)
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"1 tensors differ, as Mixed_5b\.branch1x1\.conv\.weight"):
        open_inception(path, allowed=digest_of(path))


def test_a_pickle_that_would_run_code_runs_none(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "trap.pth"
    torch.save({"fc.weight": Trap()}, path)
    with pytest.raises(ValueError, match="holds no weights"):
        open_inception(path, allowed=digest_of(path))
    assert not (tmp_path / "sprung").exists()


class Program(torch.nn.Module):
    """In the form of the published TorchScript file: layers, called without their scaling."""

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, pictures):
        return self.layers((pictures - 128) / 128)


class Means(torch.nn.Module):
    def forward(self, pictures):
        return pictures.mean(dim=(2, 3)).repeat(1, 683)[:, :2048]


def test_of_a_program_that_the_user_vouches_for_the_layers_alone_run(tmp_path):
    path = tmp_path / "inception.pt"
    torch.jit.script(Program(Means())).save(str(path))
    with pytest.raises(ValueError, match="none of the published"):
        open_inception(path)
    network, _ = open_inception(path, allowed=digest_of(path))
    pictures = torch.rand(2, 3, 8, 8)
    assert torch.equal(network(pictures), Means()(pictures))


def test_a_program_without_layers_is_refused(tmp_path):
    path = tmp_path / "means.pt"
    torch.jit.script(Means()).save(str(path))
    assert any("/code/" in name for name in zipfile.ZipFile(path).namelist())
    with pytest.raises(ValueError, match="has no layers"):
        open_inception(path, allowed=digest_of(path))


@pytest.fixture(scope="module")
def published():
    """The published files, by name."""
    folder = os.environ.get("STORY_TEST_INCEPTION")
    if folder is None:
        pytest.skip("STORY_TEST_INCEPTION names no folder with both published files of Inception")
    return {name: Path(folder) / name for name in PUBLISHED.values()}


def test_our_layers_on_the_published_weights_are_the_published_program(published):
    (ours, _), (theirs, _) = (open_inception(path) for path in published.values())
    pictures = torch.rand(2, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        assert torch.allclose(ours(pictures), theirs(pictures), rtol=1e-3, atol=1e-3)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="is no file"):
        open_inception(tmp_path / "none.pth")
