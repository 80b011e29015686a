import pytest
from accelerate import init_empty_weights

from story_model.autoencoder import LinearAutoencoder, SdxlAutoencoder
from story_model.build import Vocabulary, build_autoencoder, build_llama, build_mllm, llama2_vocabulary
from story_model.config import DetokenizerConfig, ModelConfig


def test_the_configured_autoencoder_is_built() -> None:
    assert isinstance(build_autoencoder(DetokenizerConfig()), LinearAutoencoder)
    with init_empty_weights():
        sdxl = build_autoencoder(DetokenizerConfig(autoencoder="sdxl", latent_channels=4, latent_factor=8))
    assert isinstance(sdxl, SdxlAutoencoder)
    assert (sdxl.factor, sdxl.scaling_factor) == (8, 0.13025)


@pytest.mark.parametrize("latents", [{"latent_channels": 8}, {"latent_factor": 4}])
def test_sdxl_s_autoencoder_is_not_built_for_latents_that_it_does_not_make(latents) -> None:
    config = DetokenizerConfig(**{"autoencoder": "sdxl", "latent_channels": 4, "latent_factor": 8, **latents})
    with pytest.raises(ValueError, match="has latent_channels 4 and latent_factor 8, not"):
        build_autoencoder(config)


def test_a_language_model_is_built_without_a_tokenizer() -> None:
    config = ModelConfig()
    llama = build_llama(config, Vocabulary(500, begin_of_story=1, end_of_story=2, pad=3))
    assert llama.get_input_embeddings().num_embeddings == llama.lm_head.out_features == 500
    assert (llama.config.bos_token_id, llama.config.eos_token_id, llama.config.pad_token_id) == (1, 2, 3)


def test_the_published_vocabulary_is_llama_s_and_a_picture_with_its_begin_and_end() -> None:
    config = ModelConfig.model_validate({"mllm": {"language_model": {"vocab_size": 32000}, "num_image_tokens": 64}})
    assert llama2_vocabulary(config.mllm).vocab_size == 32066


def test_widths_that_do_not_agree_are_named() -> None:
    config = ModelConfig.model_validate({"image_encoder": {"output_dim": 64}})
    with pytest.raises(ValueError, match=r"hidden_size 128 and image_encoder.output_dim 64"):
        build_mllm(config, build_llama(config, llama2_vocabulary(config.mllm)))
