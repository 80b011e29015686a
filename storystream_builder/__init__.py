"""Videos -> stories: shots, keyframes, captions, narratives and the Parquet dataset made of them."""
