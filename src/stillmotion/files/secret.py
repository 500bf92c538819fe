"""A random secret that a server keeps for itself, in a file of its data directory."""

import os
import secrets
from pathlib import Path

from stillmotion.errors import ConfigurationError
from stillmotion.files.blobs import sync_folder

SECRET_BYTES = 32


def keep_secret(path: Path) -> bytes:
    """The secret in the file ``path``, made on first use and readable by its owner alone; blocks.

    Raises ConfigurationError for a file that holds something else. The caller owns the folder.
    """
    if not path.exists():
        unfinished = path.with_name(path.name + ".new")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, secrets.token_bytes(SECRET_BYTES))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        unfinished.rename(path)
        sync_folder(path.parent)
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise ConfigurationError(f"{path} is damaged; delete it to have a new one made")
    return secret
