"""Numbers with the noun that they count, in texts for people."""


def counted(count: int, noun: str, *, plural: str = "") -> str:
    """ "1 image", "2 images", "1,562 masks"; the last word of `noun` takes the s, or `plural` stands for all of it."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
