"""Files that are there as a whole or not at all."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; once what is there has reached the disk, it becomes ``path``.

    Whatever happens before that, a kill or a full disk, leaves ``path`` as it was. Raises OSError, naming ``path``.
    """
    partial = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("r+b") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
        for pause in (0.01, 0.1, 1.0):  # Windows refuses while somebody reads it, as the live view does
            with contextlib.suppress(PermissionError):
                os.replace(partial, path)  # noqa: PTH105
                return
            time.sleep(pause)
        os.replace(partial, path)  # noqa: PTH105
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
