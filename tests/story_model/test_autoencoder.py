import torch

from story_model.autoencoder import LinearAutoencoder


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
