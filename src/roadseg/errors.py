"""The errors roadseg raises, and the warning it gives; each message names the file, what was found and what to do.

RoadsegError
├── ConfigError     a key, a type or a value of the configuration or of an option
├── DataError       a folder, an image or a mask
│   └── ImageError  one file that cannot be read
├── ModelError      a model that cannot be loaded, or does not fit the images
├── RunError        a run folder that exists, or cannot be resumed
├── BackendError    no Keras backend, or one that ran out of memory
└── OutputError     a place that cannot be written

The command line prints the message alone and exits with code 2.
"""

__all__ = [
    "BackendError",
    "ConfigError",
    "DataError",
    "ImageError",
    "ModelError",
    "OutputError",
    "RoadsegError",
    "RoadsegWarning",
    "RunError",
]


class RoadsegError(Exception):
    """Anything the user can mend; the base of all errors here."""


class ConfigError(RoadsegError):
    """A key, a type or a value of the configuration or of an option is not usable."""


class DataError(RoadsegError):
    """A dataset folder, or the pairing of its images and masks, is not usable."""


class ImageError(DataError):
    """One image file is missing, unreadable, truncated or of an unknown kind."""


class ModelError(RoadsegError):
    """A file is not a model, or the model does not fit the images."""


class RunError(RoadsegError):
    """A run folder exists already, is incomplete, or cannot be resumed."""


class BackendError(RoadsegError):
    """No Keras backend is installed, or the backend ran out of memory."""


class OutputError(RoadsegError):
    """An output folder or file cannot be written."""


class RoadsegWarning(UserWarning):
    """Something that the user should know and that does not stop the work."""
