"""The licence of a release: what it is called here and there, and the file `LICENSE`.

The texts of licences are their authors'; `LICENSE` names the licence and where its text is, or holds the text that the
user gives (`release.card.license_text`).
"""

from typing import NamedTuple

from schemas.config import CardConfig

LICENSE_FILE = "LICENSE"


class Licence(NamedTuple):
    """spdx: its identifier at spdx.org. url: of its text."""

    spdx: str
    url: str


def _creative_commons(kind: str, version: str) -> Licence:
    spdx = f"CC-{kind.upper()}-{version}"
    return Licence(spdx, f"https://creativecommons.org/licenses/{kind}/{version}/legalcode")


# By what Hugging Face calls them (https://huggingface.co/docs/hub/repositories-licenses).
KNOWN = {
    "cc0-1.0": Licence("CC0-1.0", "https://creativecommons.org/publicdomain/zero/1.0/legalcode"),
    **{
        f"cc-{kind}-{version}": _creative_commons(kind, version)
        for kind in ("by", "by-sa", "by-nc", "by-nd", "by-nc-sa", "by-nc-nd")
        for version in ("2.0", "2.5", "3.0", "4.0")
    },
    "pddl": Licence("PDDL-1.0", "https://opendatacommons.org/licenses/pddl/1-0/"),
    "odc-by": Licence("ODC-By-1.0", "https://opendatacommons.org/licenses/by/1-0/"),
    "odbl": Licence("ODbL-1.0", "https://opendatacommons.org/licenses/odbl/1-0/"),
    "cdla-permissive-1.0": Licence("CDLA-Permissive-1.0", "https://cdla.dev/permissive-1-0/"),
    "cdla-permissive-2.0": Licence("CDLA-Permissive-2.0", "https://cdla.dev/permissive-2-0/"),
    "cdla-sharing-1.0": Licence("CDLA-Sharing-1.0", "https://cdla.dev/sharing-1-0/"),
    "apache-2.0": Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0"),
    "mit": Licence("MIT", "https://opensource.org/license/mit"),
}


def known_licence(card: CardConfig) -> Licence | None:
    """What is known of the licence that the user names; None where that is no name of Hugging Face's."""
    return KNOWN.get(card.license.lower())


def licence_text(card: CardConfig, *, name: str) -> str:
    """The file `LICENSE` of a release called `name`."""
    title = card.name or name
    known = known_licence(card)
    lines = [title]
    if card.holder:
        lines.append(f"Rights holder: {card.holder}")
    if card.contact:
        lines.append(f"Contact: {card.contact}")
    lines.append("")
    if card.license_text:
        return "\n".join([*lines, card.license_text.strip(), ""])
    if not card.license:
        lines.append("No licence was stated: no right to use, copy or pass on this dataset is given by this file.")
        lines.append(f"Ask {card.contact or card.holder or 'whoever gave it to you'} before you use it.")
    elif known is None:
        lines.append(f"Licence: {card.license}")
    else:
        lines.append(f"This dataset is licensed under {known.spdx}.")
        lines.append(f"SPDX-License-Identifier: {known.spdx}")
        lines.append(f"The text of the licence: {known.url}")
    return "\n".join([*lines, ""])
