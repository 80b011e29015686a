"""A dataset in others' forms: the published StoryStream's, WebDataset's."""
