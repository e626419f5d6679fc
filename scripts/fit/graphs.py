"""python -m scripts.fit.graphs FOLDER: counts the exported graphs there into graphs.csv, one row a graph."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from edgekit._inspect import prepare_open
from edgekit._node_work import count_in_out, list_work
from edgekit._work_terms import TERMS, sum_terms
from edgekit.sources.onnx_file import load_onnx

TABLE = Path(__file__).parent / "graphs.csv"
Graph = tuple[str, str]  # model, component ("" where the model is one graph)


def count_graph(path: Path) -> dict[str, float]:
    """The terms of one ONNX file, by the very code that `edgekit estimate` counts with."""
    component, _ = prepare_open(load_onnx(path), {})
    nodes = list_work(component.model)
    if nodes is None:
        raise SystemExit(f"{path}: a size is open")
    return sum_terms(nodes, count_in_out(component.model))


def read_graphs() -> dict[Graph, dict[str, float]]:
    """(model, component) -> terms, from graphs.csv."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            (row["model"], row["component"]): {term: float(row[term]) for term in TERMS}
            for row in csv.DictReader(file)
        }


def main(folder: Path) -> None:
    """Add every graph of the folder that is not in the table yet."""
    known = read_graphs() if TABLE.exists() else {}
    for path in sorted(folder.glob("*.onnx")):
        model, _, part = path.stem.partition("--")
        if (model, part) not in known:
            known[model, part] = count_graph(path)
    with TABLE.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("model", "component", *TERMS))
        for (model, part), terms in sorted(known.items()):
            writer.writerow((model, part, *(f"{terms[term]:.6g}" for term in TERMS)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
