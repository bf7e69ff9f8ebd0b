"""``spikestore recipes``: list the shipped recipes."""

from __future__ import annotations

from spikestore.store.cli.commands.options import JsonOption
from spikestore.store.cli.console import print_json, stdout_console


def recipes(as_json: JsonOption = False) -> None:
    """List the shipped recipes. For each recipe: its name for `preprocess`, its data set, and the publication whose preprocessing it reproduces.

    Examples
    --------
    spikestore recipes
    spikestore preprocess spyx-shd --data ~/data/SHD
    """
    from spikestore.pipeline.recipes.recipe import load_recipe
    from spikestore.pipeline.recipes.shipped import paper_recipes, shipped_recipes

    rows = []
    for name, path in (shipped_recipes() | paper_recipes()).items():
        recipe = load_recipe(path)
        rows.append({
            "name": name,
            "dataset": recipe.source.dataset,
            "result": recipe.name,
            "citation": recipe.citation,
            "licence": recipe.licence,
            "path": str(path),
        })  # fmt: skip
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("name", "dataset", "result", "paper", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row["name"], row["dataset"], row["result"], row["citation"] or "-")
    stdout_console().print(table)
