"""GPUs that trainings are planned for and measured on: memory, arithmetic peaks, bandwidth.

Numbers are recalled from the vendor's data sheets, dense (without structured sparsity) and for the SXM form where there
are several; `python -m training.plan` lets the user state others. A sheet's peak is never reached: on an H200 large
bfloat16 matrix products were reckoned at 790 TFLOP/s of its 989.
"""

import re
from dataclasses import dataclass

from story_model.train_config import Precision


@dataclass(frozen=True)
class Gpu:
    """One kind of GPU."""

    name: str
    memory_gb: float
    """GiB, as the vendors sell it; drivers and error correction leave a little less."""
    bfloat16_tflops: float
    """Dense tensor-core peak with float32 sums."""
    float32_tflops: float
    """Peak without tensor cores: what matrix products in float32 use unless TF32 is allowed."""
    bandwidth_tb_s: float
    """Of its memory."""
    device_names: str
    """Regular expression of what the driver calls it."""
    source: str
    """Where the numbers are from."""
    achievable_tflops: float | None = None
    """What large bfloat16 matrix products reach, where that is known."""

    def peak_flops(self, precision: Precision) -> float:
        """Give the data sheet's peak in FLOP/s."""
        return 1e12 * (self.bfloat16_tflops if precision == "bfloat16" else self.float32_tflops)


GPUS = {
    "h200": Gpu("H200", 141, 989, 67, 4.8, r"H200$", "NVIDIA H200 data sheet (SXM), recalled", achievable_tflops=790),
    "h100": Gpu("H100 SXM", 80, 989, 67, 3.35, r"H100 80GB HBM3$", "NVIDIA H100 data sheet (SXM), recalled"),
    "a100-80gb": Gpu("A100 80 GB", 80, 312, 19.5, 2.039, r"A100-SXM4-80GB$", "NVIDIA A100 data sheet (SXM), recalled"),
    "a100-40gb": Gpu("A100 40 GB", 40, 312, 19.5, 1.555, r"A100-(SXM4|PCIE)-40GB$", "NVIDIA A100 data sheet, recalled"),
    "a800": Gpu(
        "A800 80 GB", 80, 312, 19.5, 2.039, r"A800-SXM4-80GB$", "NVIDIA A800 data sheet (SXM), recalled: A100's"
    ),
    "l40s": Gpu("L40S", 48, 362, 91.6, 0.864, r"L40S$", "NVIDIA L40S data sheet, recalled"),
    "rtx-4090": Gpu("RTX 4090", 24, 165.2, 82.6, 1.008, r"RTX 4090$", "NVIDIA Ada architecture paper, recalled"),
    "rtx-3090": Gpu("RTX 3090", 24, 71, 35.6, 0.936, r"RTX 3090$", "NVIDIA Ampere GA102 architecture paper, recalled"),
}
"""By the name that the command line uses."""


def gpu(name: str) -> Gpu:
    """Look a GPU up by the command line's name.

    Raises:
        ValueError: the table does not have it.
    """
    if name not in GPUS:
        raise ValueError(
            f"no GPU {name!r} in the table ({', '.join(GPUS)}); take one that is near and give its numbers by "
            "--tflops, --tflops-float32 and --memory-gb"
        )
    return GPUS[name]


def peak_flops(device_name: str, precision: Precision) -> float | None:
    """Give the data sheet's peak in FLOP/s of a device as its driver names it; none for one that is not in the table.

    Utilisation is a share of this. Near relatives (an H100 for PCIe, a 4090 for laptops) have other peaks and no entry.
    """
    found = (gpu for gpu in GPUS.values() if re.search(gpu.device_names, device_name.strip()))
    match = next(found, None)
    return None if match is None else match.peak_flops(precision)
