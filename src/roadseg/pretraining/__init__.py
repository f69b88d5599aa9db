"""How the models in the package are made, scored and described, from a recipe and a folder of sets; see `__main__`."""
