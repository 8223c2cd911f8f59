"""How messages for people are put together."""


def sentence(text: str) -> str:
    """With one full stop at its end, whoever wrote the text: exceptions of others end as they like."""
    said = text.rstrip(" .\n\r\t")
    return said if said.endswith(("?", "!")) else f"{said}."
