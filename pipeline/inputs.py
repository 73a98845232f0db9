"""Where a store's inputs lie: the recipe as it was run, kept beside the store, so that its frames can be made once more."""

import json
from pathlib import Path
from typing import Any

from ..tasks.errors import Problem, Refusal
from ..tasks.store import atomic
from ..tasks.store.layout import run_folder
from ..workflows.recipe import recipe_kind, to_plain
from .documents.document import Document
from .documents.recipe import LoadedRecipe
from .documents.settings import validated

FILE = "recipe.json"
"""In the run's folder: the recipe with every default, its name, and the folder that its inputs are relative to."""


def remember(store: Path, loaded: LoadedRecipe) -> None:
    """Keeps the recipe beside the store."""
    said = {"name": loaded.name, "folder": str(loaded.folder), "recipe": to_plain(loaded.recipe)}
    atomic.replace(run_folder(store) / FILE, json.dumps(said, indent=1).encode())


def remembered(store: Path, takes_inputs: bool = True) -> LoadedRecipe:
    """The recipe that the store was last run with. Raises `Refusal` where nothing is left of it.

    `takes_inputs`: whoever asks can be told the folder of the inputs instead, as `reproduce` can.
    """
    file = run_folder(store) / FILE
    try:
        said: dict[str, Any] = json.loads(file.read_text("utf-8"))
        document = Document(str(file), said["recipe"], {})
        recipe = validated(recipe_kind(document.value), document)
        return LoadedRecipe(recipe, str(said["name"]), Path(said["folder"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        again = "`cryovox run RECIPE` once more: it makes nothing anew and writes this file"
        raise Refusal(
            Problem(
                "nobody remembers where the store's inputs lie",
                str(file),
                str(error),
                "the recipe as it was run",
                f"say where they lie: `--inputs FOLDER`; or {again}" if takes_inputs else again,
            )
        ) from error
