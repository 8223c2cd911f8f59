"""Sizes of the files that a run fetches, which those who fetch and those who unpack must agree on."""

from typing import Final

MOST_BYTES: Final = 64 * 2**20
MOST_FILES: Final = 10_000
"""Limits of the unpacked files of a program."""
MOST_PACKED: Final = 4 * 2**20
"""Largest size in bytes of what travels through a pod's output and is kept in ConfigMaps."""
PART_BYTES: Final = 480 * 2**10
"""Largest body of one record, so that a ConfigMap has room for it in base64."""
