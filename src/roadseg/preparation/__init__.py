"""Raw images and raw labels made into a dataset folder."""
