import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from story_model.autoencoder import LinearAutoencoder, SdxlAutoencoder


def fitted(channels: int) -> tuple[LinearAutoencoder, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.rand(20, 3, 4, 4, generator=generator).repeat_interleave(4, 2).repeat_interleave(4, 3) * 2 - 1
    autoencoder = LinearAutoencoder(channels, 4)
    autoencoder.fit(smooth)
    return autoencoder, smooth


def test_all_components_lose_nothing() -> None:
    autoencoder, pictures = fitted(48)
    assert torch.allclose(autoencoder.decode(autoencoder.encode(pictures)), pictures, atol=1e-4)


def test_three_components_are_enough_for_patches_of_one_colour() -> None:
    autoencoder, pictures = fitted(3)
    assert torch.allclose(autoencoder.decode(autoencoder.encode(pictures)), pictures, atol=1e-4)


def test_latents_have_unit_variance_over_all_channels() -> None:
    autoencoder, pictures = fitted(3)
    assert abs(autoencoder.encode(pictures).std() - 1) < 1e-3


def test_two_fits_agree_to_the_bit() -> None:
    first, second = fitted(5)[0], fitted(5)[0]
    assert torch.equal(first.basis, second.basis)


def vae() -> AutoencoderKL:
    """Make a small one in SD-XL's shape: a quarter of the sides."""
    torch.manual_seed(0)
    made = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.13025,
    )
    return made.eval().requires_grad_(False)


def pictures(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_sdxl_s_latents_are_the_scaled_mode_on_a_grid_of_its_factor() -> None:
    reference = vae()
    latents = SdxlAutoencoder(reference).encode(pictures())
    expected = reference.encode(pictures()).latent_dist.mode() * 0.13025
    assert SdxlAutoencoder(reference).factor == 4
    assert latents.shape == (2, 4, 4, 4)
    torch.testing.assert_close(latents, expected, atol=1e-6, rtol=1e-4)


def test_sdxl_s_pictures_are_decoded_from_unscaled_latents() -> None:
    reference = vae()
    latents = torch.randn(2, 4, 4, 4, generator=torch.Generator().manual_seed(2)) * 0.13025
    expected = reference.decode(latents / 0.13025).sample
    torch.testing.assert_close(SdxlAutoencoder(reference).decode(latents), expected.clamp(-1, 1), atol=1e-5, rtol=1e-4)


def test_sdxl_s_pictures_never_leave_their_range() -> None:
    autoencoder = SdxlAutoencoder(vae())
    autoencoder.decoder.conv_out.weight.mul_(1000)
    decoded = autoencoder.decode(autoencoder.encode(pictures()))
    assert (decoded.min(), decoded.max()) == (-1, 1)


def test_a_generator_draws_sdxl_s_latents_around_the_mode() -> None:
    autoencoder = SdxlAutoencoder(vae())
    first, again, other = (autoencoder.encode(pictures(), torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    posterior = vae().encode(pictures()).latent_dist
    deviations = (first / 0.13025 - posterior.mean) / posterior.std
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0.7 < deviations.std() < 1.3


def test_sdxl_s_weights_load_under_the_names_they_are_published_with() -> None:
    published = vae().state_dict()
    autoencoder = SdxlAutoencoder(AutoencoderKL.from_config(vae().config))
    assert autoencoder.state_dict().keys() == published.keys()
    autoencoder.load_state_dict(published)
    assert torch.equal(autoencoder.encode(pictures()), SdxlAutoencoder(vae()).encode(pictures()))


@pytest.mark.parametrize("asked", [torch.float16, torch.bfloat16])
def test_sdxl_s_autoencoder_stays_in_single_precision(asked) -> None:
    untouched = SdxlAutoencoder(vae())
    latents = untouched.encode(pictures())
    asked_to_change = torch.nn.Sequential(SdxlAutoencoder(vae())).to(asked)[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(asked_to_change.encode(pictures()), latents)
        assert torch.equal(asked_to_change.decode(latents), untouched.decode(latents))


def test_sdxl_s_autoencoder_takes_what_was_computed_in_half_precision() -> None:
    autoencoder = SdxlAutoencoder(vae())
    latents = autoencoder.encode(pictures().bfloat16())
    assert autoencoder.decode(latents.bfloat16()).dtype == torch.float32


def test_a_vae_in_half_precision_is_widened() -> None:
    assert {weight.dtype for weight in SdxlAutoencoder(vae().half()).state_dict().values()} == {torch.float32}


def test_weights_assigned_from_a_file_in_half_precision_are_widened() -> None:
    autoencoder = SdxlAutoencoder(vae()).to("meta")
    autoencoder.load_state_dict(vae().half().state_dict(), assign=True)
    assert {(weight.device.type, weight.dtype) for weight in autoencoder.parameters()} == {("cpu", torch.float32)}


def test_sdxl_s_autoencoder_moves_between_devices() -> None:
    autoencoder = SdxlAutoencoder(vae()).half().to("meta")
    assert {(weight.device.type, weight.dtype) for weight in autoencoder.parameters()} == {("meta", torch.float32)}
