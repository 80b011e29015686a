"""A device is found by its driver's name, or not at all."""

import pytest

from training.hardware import GPUS, gpu, peak_flops


@pytest.mark.parametrize(
    ("device_name", "tflops"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA A800-SXM4-80GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA GeForce RTX 3090", 71),
    ],
)
def test_a_driver_s_name_finds_the_peak(device_name, tflops) -> None:
    assert peak_flops(device_name, "bfloat16") == pytest.approx(tflops * 1e12)


@pytest.mark.parametrize(
    "device_name", ["NVIDIA H100 PCIe", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 3090 Ti", "cpu", ""]
)
def test_a_relative_with_another_peak_is_not_mistaken_for_it(device_name) -> None:
    assert peak_flops(device_name, "bfloat16") is None


@pytest.mark.parametrize("name", GPUS)
def test_float32_without_tensor_cores_is_slower_and_every_number_has_a_source(name) -> None:
    entry = gpu(name)
    assert 0 < entry.float32_tflops < entry.bfloat16_tflops
    assert entry.memory_gb > 0
    assert "recalled" in entry.source


def test_what_is_achievable_is_less_than_the_data_sheet_says() -> None:
    assert gpu("h200").achievable_tflops == 790 < gpu("h200").bfloat16_tflops


def test_an_unknown_gpu_is_named_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"no GPU 'b300'.*h200.*--tflops"):
        gpu("b300")
